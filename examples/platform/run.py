"""The platform in one command, without Docker: raw documents to features to a registered model to an API under load, and a verdict.

Starts a private PostgreSQL and Redis, writes real flights into the raw store, lets the Mage project's blocks make features of them,
registers a real H2O model, serves it by the template of the skill fastapi-pro, checks answers against H2O's own, drives it by Locust at
a stated rate, and lets the skill qa's gate judge the 99th percentile. Ends with 0 only if everything held. What it started, it stops.

    python examples/platform/run.py                                   # everything in this environment; no Java anywhere
    python examples/platform/run.py --mage .../bin/python             # pipelines by Mage itself
    python examples/platform/run.py --train .../bin/python            # a second model trained by H2O there, promoted under load
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import secrets
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import cenote
import jwt

import flights
from services import ROOT, SKILLS, Failed, Service, cores, databases, run

MAGE = SKILLS / "data-engineer" / "assets"
PROJECT = MAGE / "mage_project"
ML = SKILLS / "ml-engineer"
MODEL = flights.DEMO / "model.zip"
VIEW = PROJECT / "views" / "flight_features.json"
ULPS = 2
EVERY_CORE = os.sched_getaffinity(0)


@contextmanager
def step(what: str) -> Iterator[None]:
    begun = time.perf_counter()
    print(f"  {what:<70}", end="", flush=True)
    yield
    print(f"{time.perf_counter() - begun:>8.2f} s", flush=True)


async def write_raw(url: str, count: int) -> int:
    """Make the raw store by the skill db-architect's SQL and append the documents."""
    connection = await asyncpg.connect(url)
    await connection.execute((SKILLS / "db-architect" / "assets" / "raw_store.sql").read_text())
    rows = [("flights", at, json.dumps(body)) for at, body in (*flights.demo(), *flights.new_york(count))]
    await connection.copy_records_to_table("raw_events", records=rows, columns=["source", "event_ts", "body"])
    await connection.execute("ANALYZE raw_events")
    await connection.close()
    return len(rows)


def pipeline(name: str, options: argparse.Namespace, work: Path, **environment: str) -> None:
    """Run a pipeline of the Mage project: by Mage where it is given, else by the runner that needs none."""
    if options.mage:
        project = work / "mage_project"
        if not project.exists():
            shutil.copytree(PROJECT, project)
        script, environment["MAGE_DATA_DIR"] = MAGE / "run_in_mage.py", str(work / "mage")
        out = run(options.mage, script, project, name, f"views={project / 'views'}", log=work / f"{name}.log", **environment)
        (work / f"{name}.json").write_text(out)
    else:
        run(sys.executable, MAGE / "run_without_mage.py", PROJECT, name, log=work / f"{name}.log", **environment)


class Client:
    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url, token

    def ask(self, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self._token}", "content-type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self._url + path, data, headers), timeout=30) as answer:
            return json.load(answer)


def check_answers(client: Client) -> float:
    """Score the demo's flights over HTTP by key; the greatest distance from H2O's own answers in units in the last place."""
    answers = flights.answers()
    scores = client.ask("/v1/entities/score", {"keys": list(answers)})["scores"]
    worst = 0.0
    for (key, (label, *numbers)), score in zip(answers.items(), scores, strict=True):
        got, *ours = score["prediction"].values()
        if got != label:
            raise Failed(f"flight {key}: {got} is not H2O's {label}")
        worst = max([worst, *(abs(a - float(b)) / math.ulp(float(b)) for a, b in zip(ours, numbers, strict=True))])
    if not worst <= ULPS:
        raise Failed(f"a probability is {worst} ulp from H2O's")
    return worst


def check_graph(client: Client) -> None:
    """The raw document, the features and the score of a flight, in one GraphQL query."""
    query = '{ entities(keys: ["1001"]) { features prediction raw } }'
    (entity,) = client.ask("/graphql", {"query": query})["data"]["entities"]
    if (
        entity["raw"][0]["carrier"] != entity["features"]["carrier"]
        or entity["prediction"]["predict"] != flights.answers()["1001"][0]
    ):
        raise Failed(f"GraphQL answered {entity}")


def register(work: Path, url: str) -> None:
    """The demo's model as version 1, signed by a release key of this run, with golden rows."""
    run(sys.executable, ML / "scripts" / "sign_model.py", "--generate-key", work / "release")
    names = set(cenote.View(VIEW.read_text()).features)
    rows = [{name: body.get(name) for name in names} for _, body in flights.new_york(20)]
    with cenote.FeatureStore.connect(url) as store:
        store.apply_registry()
        key = (work / "release.private.pem").read_text()
        version = store.register_model("late", cenote.load(MODEL), golden_rows=rows, signing_key=key)
        store.promote_model("late", "production", version.version)


def train(options: argparse.Namespace, work: Path, url: str) -> int:
    """A second version: training set from the store, H2O AutoML, golden rows, signature, registry. Its version."""
    training_set = work / "training_set.csv"
    pipeline("training_set", options, work, FEATURES_DSN=url, TRAINING_SET=str(training_set))
    run(options.train, ML / "assets" / "h2o_training_template.py", "--train", training_set, "--target", "late", "--classification",
        "--time-column", "event_ts", "--max-models", "3", "--max-runtime", "120", "--threads", "2", "--memory", "2G",
        "--output", work / "trained", log=work / "training.log", on=EVERY_CORE)  # fmt: skip
    run(sys.executable, ML / "scripts" / "sign_model.py", work / "trained" / "model.zip", "--sign", work / "release.private.pem",
        "--name", "late", "--model-version", "2")  # fmt: skip
    out = run(sys.executable, ML / "assets" / "register_model.py", work / "trained", "--name", "late", "--view", VIEW,
              "--public-key", work / "release.public.pem",
              "--signing-key", work / "release.private.pem", REGISTRY_DSN=url)  # fmt: skip
    return int(json.loads(out)["version"])


def load(options: argparse.Namespace, work: Path, url: str, token: str, keys: list[str], on: set[int]) -> None:
    """Drive the service by Locust at the stated rate: open loop, warm-up forgotten."""
    rows = [
        {k: v for k, v in body.items() if k in set(cenote.View(VIEW.read_text()).features)} for _, body in flights.new_york(100)
    ]
    (work / "rows.json").write_text(json.dumps(rows))
    (work / "keys.json").write_text(json.dumps(keys))
    users = max(10, options.rate)  # one request a second each, so that a late one holds back no other
    run(sys.executable, "-m", "locust", "-f", SKILLS / "qa" / "assets" / "load_tests" / "locustfile.py", "--headless", "-H", url,
        "-u", str(users), "-r", str(users), "-t", f"{options.warmup + options.seconds}s", "--stop-timeout", "10",
        "--csv", work / "run", "--json-file", work / "run", "--exit-code-on-error", "0", "--only-summary", log=work / "locust.log", on=on,
        LOAD_TOKEN=token, LOAD_RATE=str(options.rate), LOAD_USERS=str(users), LOAD_WARMUP=str(options.warmup),
        LOAD_ROWS=str(work / "rows.json"), LOAD_KEYS=str(work / "keys.json"))  # fmt: skip


def verdict(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """What the gate says of the run."""
    gate = [sys.executable, SKILLS / "qa" / "scripts" / "run_slo_gate.py", "--results", work / "run.json", "--format", "json",
            "--history", work / "run_stats_history.csv", "--p99-threshold", str(options.p99), "--min-rps", str(0.97 * options.rate),
            "--endpoint", f"/v1/score one={options.p99}", "--endpoint", f"/v1/entities*={options.p99}"]  # fmt: skip
    done = subprocess.run([str(word) for word in gate], capture_output=True, text=True, timeout=60)
    if done.returncode not in (0, 1):
        raise Failed(f"the gate could not judge (exit {done.returncode}): {done.stderr or done.stdout}")
    return {"code": done.returncode, **json.loads(done.stdout)}


def machine(servers: set[int], generator: set[int]) -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": os.cpu_count(), "server_cores": sorted(servers), "generator_cores": sorted(generator),
            "load_average": os.getloadavg()[0], "python": platform.python_version(), "cenote": cenote.__version__}  # fmt: skip


def everything(options: argparse.Namespace) -> int:
    work: Path = options.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for_servers, for_generator = cores()
    os.sched_setaffinity(0, for_servers)
    before = machine(for_servers, for_generator)
    key = secrets.token_hex(32)
    claims = {"sub": "load", "iss": "https://auth.example.com/", "aud": "scoring-api", "exp": time.time() + 7200}
    token = jwt.encode({**claims, "scope": "score:read model:admin"}, key, algorithm="HS256")
    print("The platform")
    with databases() as (postgres, redis):
        url = postgres.url
        with step(f"raw store: {options.flights + 200} flights as JSON documents"):
            asyncio.run(write_raw(url, options.flights))
        with step("pipeline flight_features: raw -> features, " + ("by Mage" if options.mage else "its blocks without Mage")):
            pipeline("flight_features", options, work, FEATURES_DSN=url)
        with step("registry: the demo's model as late:1, signed, with golden rows, in production"):
            register(work, url)
        with step("pipeline score_flights: every flight scored by key"):
            pipeline("score_flights", options, work, FEATURES_DSN=url)
        second = 0
        if options.train:
            with step("training: H2O AutoML on the store's features, signed, registered"):
                second = train(options, work, url)
        service = Service(work / "service.log", APP_MODEL="late@production", APP_TRUSTED_KEYS_PATH=str(work / "release.public.pem"), APP_VIEW_PATH=str(VIEW), APP_DATABASE_URL=url,
                          APP_RAW_TABLE="raw_events", APP_REDIS_URL=redis.url, APP_JWT_KEY=key, APP_RATE_LIMIT="100000/second",
                          RAYON_NUM_THREADS="1")  # fmt: skip
        try:
            with step("service: python -m app, ready"):
                service.wait_until_ready()
            client = Client(service.url, token)
            with step("200 flights by key over HTTP, each compared with H2O's answer"):
                worst = check_answers(client)
            with step("GraphQL: raw document, features and score of a flight"):
                check_graph(client)
            if service.has_jvm():
                raise Failed("a JVM is loaded into the service")
            keys = [str(flights.FIRST_ID + i) for i in range(options.flights)]
            cpu = service.cpu_seconds()
            promotion = threading.Timer(options.warmup + options.seconds / 2, promote, (url, second))
            with step(f"load: {options.rate} requests a second for {options.seconds} s after {options.warmup} s of warm-up"):
                if second:
                    promotion.start()
                load(options, work, service.url, token, keys, for_generator)
            serving = client.ask("/admin/model")["version"]
            if serving != f"late:{second or 1}":
                raise Failed(f"{serving} serves, not late:{second or 1}")
            memory, cpu = service.memory(), service.cpu_seconds() - cpu
            with step("service: SIGTERM, drained, ended with 0"):
                service.stop()
        finally:
            service.kill()
    result = verdict(options, work)
    report = {"machine": before, "rate": options.rate, "seconds": options.seconds, "p99": options.p99, "flights": options.flights, "worst_ulp": worst,
              "hot_swap_under_load": bool(second), "service_bytes": memory,
              "service_cpu_ms_per_request": 1e3 * cpu / (options.rate * (options.warmup + options.seconds)), "gate": result}  # fmt: skip
    (work / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    show(report)
    return int(result["code"])


def promote(url: str, version: int) -> None:
    with cenote.FeatureStore.connect(url) as store:
        store.promote_model("late", "production", version)


def show(report: dict[str, Any]) -> None:
    data, gate, host = report["gate"]["data"], report["gate"], report["machine"]
    print(f"\n  {host['cpu']}, {host['cores']} cores (service on {host['server_cores']}, load on {host['generator_cores']}; "
          f"load average at the start {host['load_average']:.1f})")  # fmt: skip
    print(f"  {data['requests']} requests, {data['failures']} failures, {data['requests_per_second']:.1f} a second; every label is H2O's, "
          f"every probability within {report['worst_ulp']:.0f} ulp; service {report['service_bytes'] / 2**20:.0f} MiB, "
          f"{report['service_cpu_ms_per_request']:.2f} ms of processor a request, no JVM")  # fmt: skip
    for name, quantiles in data["endpoints"].items():
        print(f"    {name:<32}" + "  ".join(f"{q} {ms:g} ms" for q, ms in quantiles.items()))
    for finding in gate["findings"]:
        print(f"  {finding['severity']} {finding['rule_id']}: {finding['message']}")
    print(f"  Verdict of the gate at p99 {report['p99']:g} ms: {'passed' if gate['code'] == 0 else 'FAILED'}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flights", type=int, default=20_000, help="flights beside the demo's 200 (default: 20000)")
    parser.add_argument("--rate", type=int, default=150, help="requests a second (default: 150)")
    parser.add_argument("--seconds", type=int, default=60, help="that are measured (default: 60)")
    parser.add_argument("--warmup", type=int, default=10, help="seconds that are not (default: 10)")
    parser.add_argument("--p99", type=float, default=50.0, help="milliseconds (default: 50)")
    parser.add_argument("--work", type=Path, default=ROOT / "target" / "platform", help="folder for logs and results; emptied")
    parser.add_argument("--mage", type=Path, help="the Python of an environment with mage-ai 0.9.80 and cenote")
    parser.add_argument("--train", type=Path, help="the Python of an environment with h2o 3.46.0.11")
    return everything(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
