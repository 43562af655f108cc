# /// script
# requires-python = ">=3.11"
# dependencies = ["PyYAML>=6,<7"]
# ///
"""Resource Isolation Sight: whether the memory and the network that containers are given fit what runs inside them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from _manifests import (
    COMPOSE_UNITS,
    POD_KINDS,
    SERVING_KINDS,
    Container,
    Document,
    child,
    containers,
    documents,
    image_name,
    items,
    pod,
    quantity,
)
from _report import Report, Rule, Tool, main

RULES = (
    Rule("MEM001", "error", "a container of a serving workload has no memory limit", "Set resources.limits.memory (compose: mem_limit) from a measured peak plus a third."),
    Rule("MEM002", "error", "the JVM's heap takes more than 70 % of the container, or is not bounded by the container", "Use -XX:MaxRAMPercentage=60 or a -Xmx below 70 % of the limit: metaspace, threads and native models need the rest."),
    Rule("MEM003", "warning", "the memory request is below its limit, so the node may be overcommitted", "Set the request equal to the limit for a pod that must not be killed first."),
    Rule("MEM004", "error", "the workers together need more memory than the container has", "Fewer workers, or a larger limit: each worker process holds its own copy of the model."),
    Rule("MEM005", "error", "PostgreSQL is told to use more memory than its container has", "shared_buffers about a quarter of the limit; max_connections x work_mem within half of it, with a pooler in front."),
    Rule("MEM006", "error", "Redis may grow past its container", "Set --maxmemory to about 75 % of the limit, and an eviction policy such as allkeys-lfu."),
    Rule("MEM007", "warning", "more threads are asked for than the container has cores", "Set OMP_NUM_THREADS / RAYON_NUM_THREADS to the CPU limit: more threads only add throttling."),
    Rule("MEM008", "error", "the container shares the host's network or process space", "Drop hostNetwork, hostPID, hostIPC and network_mode: host."),
    Rule("MEM009", "warning", "the database shares one flat network with everything", "Give database and cache an internal network of their own that only the API joins."),
    Rule("MEM010", "warning", "a volume in memory has no size limit and counts against the container", "Set emptyDir.sizeLimit (compose: tmpfs size)."),
    Rule("MEM011", "warning", "Redis as a cache with noeviction refuses writes when full", "Set --maxmemory-policy allkeys-lfu."),
)  # fmt: skip
TOOL = Tool("check_memory_allocation", "1.0.0", __doc__ or "", RULES)
JVM = re.compile(r"(?:^|/)java$")
HEAP = re.compile(r"-Xmx(\d+)([kKmMgG]?)")
PERCENT = re.compile(r"-XX:MaxRAMPercentage=([\d.]+)")
STORES = frozenset({"postgres", "postgresql", "postgis", "timescaledb", "redis", "valkey", "mysql", "mariadb"})


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", default=["."], help="manifests, compose files or folders (default: here)")
    parser.add_argument("--worker-mib", type=float, metavar="N", help="measured memory of one worker process, for MEM004")
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="files or folders to leave out")


def check(args: argparse.Namespace, report: Report) -> None:
    for document in documents(report, args.paths, args.exclude):
        spec = pod(document)
        for word in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(word) is True:
                report.add("MEM008", document.path, spec.at(word), f"{document.name} sets {word}.")
        for volume in items(spec.get("volumes")):
            empty = child(volume, "emptyDir")
            if empty.get("medium") == "Memory" and "sizeLimit" not in empty:
                report.add(
                    "MEM010", document.path, volume.line, f"volume {volume.get('name')} of {document.name} is unbounded memory."
                )
        if document.kind == "compose":
            flat_network(report, document)
        for container in containers(document):
            for rule, message in problems(document, container, args.worker_mib):
                # A JVM takes a quarter of its container by itself, and Redis without a limit has none to break: wasteful, not wrong.
                mild = message.startswith("a JVM without") or (message == "no --maxmemory." and container.memory is None)
                severity = "warning" if mild else None
                report.add(rule, document.path, container.line, f"{container.name}: {message}", severity=severity)
    report.soften("MEM001", "MEM002", "MEM004", "MEM006", "MEM008")


def problems(document: Document, c: Container, worker_mib: float | None) -> Iterator[tuple[str, str]]:
    if c.init:
        return
    kind = image_name(c.image)[0]
    serving = document.kind in SERVING_KINDS
    if serving and c.memory is None:
        yield "MEM001", "no memory limit."
    if document.kind in POD_KINDS and c.memory and c.memory_request and c.memory_request < c.memory:
        yield "MEM003", f"request {mib(c.memory_request)}, limit {mib(c.memory)}."
    yield from jvm(c, kind)
    workers = option(c.words, "--workers", "-w") or c.env.get("WEB_CONCURRENCY") or c.env.get("UVICORN_WORKERS")
    if worker_mib and c.memory and workers and workers.isdigit() and int(workers) * worker_mib * (1 << 20) > c.memory:
        yield "MEM004", f"{workers} workers of {worker_mib:g} MiB in a limit of {mib(c.memory)}."
    if kind in ("postgres", "postgis", "timescaledb", "postgresql"):
        yield from postgres(c)
    if kind in ("redis", "valkey"):
        limit = quantity(option(c.words, "--maxmemory"), COMPOSE_UNITS)
        if limit is None or (c.memory is not None and limit >= c.memory):
            yield (
                "MEM006",
                "no --maxmemory." if limit is None else f"--maxmemory {mib(limit)} in a limit of {mib(c.memory or 0)}.",
            )
        elif (option(c.words, "--maxmemory-policy") or "noeviction") == "noeviction":
            yield "MEM011", "the eviction policy is noeviction."
    for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS"):
        if c.cpu and c.env.get(name, "").isdigit() and int(c.env[name]) > max(1.0, c.cpu):
            yield "MEM007", f"{name}={c.env[name]} with a limit of {c.cpu:g} cores."
    if str(c.raw.get("network_mode", "")) == "host" or str(c.raw.get("pid", "")) == "host":
        yield "MEM008", "shares the host's network or processes."


def jvm(c: Container, kind: str) -> Iterator[tuple[str, str]]:
    options = " ".join(
        [*c.words, *(c.env.get(n, "") for n in ("JAVA_TOOL_OPTIONS", "JAVA_OPTS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"))]
    )
    if not (
        any(JVM.search(w) for w in c.words)
        or "-Xmx" in options
        or "MaxRAMPercentage" in options
        or kind in ("h2o", "openjdk", "eclipse-temurin")
    ):
        return
    heap, percent = HEAP.search(options), PERCENT.search(options)
    if heap and c.memory:
        size = int(heap[1]) * COMPOSE_UNITS[heap[2].lower()]
        if size > 0.7 * c.memory:
            yield "MEM002", f"heap {mib(size)} is {100 * size / c.memory:.0f} % of {mib(c.memory)}."
    elif percent and float(percent[1]) > 70:
        yield "MEM002", f"MaxRAMPercentage is {percent[1]}."
    elif not heap and not percent:
        yield "MEM002", "a JVM without -Xmx or -XX:MaxRAMPercentage."


def postgres(c: Container) -> Iterator[tuple[str, str]]:
    settings = dict(w.partition("=")[::2] for w in c.words if "=" in w)
    if c.memory is None:
        return
    shared = quantity(settings.get("shared_buffers", "128MB"), COMPOSE_UNITS) or 0
    work = quantity(settings.get("work_mem", "4MB"), COMPOSE_UNITS) or 0
    connections = int(settings["max_connections"]) if settings.get("max_connections", "").isdigit() else 100
    if shared + work * connections > c.memory:
        yield "MEM005", f"shared_buffers {mib(shared)} + {connections} x work_mem {mib(work)} in a limit of {mib(c.memory)}."


def flat_network(report: Report, document: Document) -> None:
    services = child(document.data, "services")
    stores = [n for n, s in services.items() if image_name(str(s.get("image", "")))[0] in STORES] if services else []
    others = len(services) - len(stores)
    for name in stores:
        if others and not services[name].get("networks") and "network_mode" not in services[name]:
            report.add(
                "MEM009",
                document.path,
                services.at(name),
                f"{name} is on the default network with {others} other service(s).",
                severity="info",
            )


def option(words: list[str], *names: str) -> str | None:
    for number, word in enumerate(words):
        for name in names:
            if word.startswith(name + "="):
                return word[len(name) + 1 :]
            if word == name and number + 1 < len(words):
                return words[number + 1]
    return None


def mib(size: float) -> str:
    return f"{size / (1 << 20):.0f} MiB"


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
