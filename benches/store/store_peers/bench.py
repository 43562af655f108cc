"""One run: rounds in which every contender has its turn at every work; then the table, the method and the plots."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from server import postgres

from . import report
from .drivers import KEYS, Drivers
from .feast_peer import Feast
from .pgbench import pgbench
from .placement import one_processor
from .results import Results
from .rust import rust

RESULTS = Path(__file__).resolve().parents[2] / "results"
SCHEMA = "peers"
# In a round Python's contenders connect so many times anew.
CONNECTIONS = 10
PARTS = ("reads", "in_flight", "writes", "joins", "faults", "memory")


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int = 5
    calls: int = 1000
    feast_calls: int = 40
    seconds: float = 1.5
    clients: tuple[int, ...] = (1, 2, 4, 8, 16)
    upsert_rows: int = 100_000
    upsert_rounds: int = 3
    keys: int = 100_000
    events: int = 10
    entities: int = 100_000
    joins: int = 3
    feast_join_limit: int = 200
    kills: int = 1000
    cancels: int = 20
    memory_millions: tuple[int, ...] = (1, 10)


QUICK = Plan(
    rounds=2, calls=200, feast_calls=10, seconds=0.5, clients=(1, 8), upsert_rounds=1, keys=10_000, entities=10_000,
    joins=1, feast_join_limit=60, kills=50, cancels=3, memory_millions=(1,),
)  # fmt: skip


class Run:
    """A run of the parts that were asked for."""

    def __init__(self, plan: Plan, parts: set[str], results: Results) -> None:
        self.plan, self.parts, self.results = plan, parts, results
        self.start = time.monotonic()

    def say(self, what: str) -> None:
        """Tells how far the run is."""
        print(f"{time.monotonic() - self.start:6.0f} s  {what}", file=sys.stderr, flush=True)

    def step(self, what: str, call: Callable[[], object]) -> None:
        """Does one thing."""
        self.say(what)
        call()

    def all(self, dsn: str, folder: Path) -> None:
        """Every part, on one server."""
        plan, results = self.plan, self.results
        with rust(dsn, SCHEMA, results) as worker, asyncio.Runner() as loop:
            self.step("fill the online table", lambda: worker("fill"))
            feast = Feast(dsn, SCHEMA, folder, results)
            self.step("fill Feast's online table", feast.upsert)
            drivers = Drivers(dsn, SCHEMA, results)
            loop.run(drivers.open())
            with one_processor(dsn) if "reads" in self.parts else contextlib.nullcontext():
                for round_ in range(plan.rounds if "reads" in self.parts else 0):
                    self.say(f"reads, round {round_ + 1} of {plan.rounds}")
                    worker("get", plan.calls)
                    pgbench(results, dsn, drivers.one, KEYS, None, 1)
                    for _ in range(CONNECTIONS):
                        loop.run(drivers.reopen())
                        loop.run(drivers.get(plan.calls // CONNECTIONS))
                    worker("get_many", plan.calls // 5)
                    for _ in range(CONNECTIONS):
                        loop.run(drivers.reopen())
                        loop.run(drivers.get_many(plan.calls // 5 // CONNECTIONS))
                    worker("score", plan.calls)
                    feast.get(plan.feast_calls)
            for clients in plan.clients if "in_flight" in self.parts else ():
                self.say(f"{clients} in flight")
                for _ in range(2):
                    worker("in_flight", clients, int(plan.seconds * 1000))
                    pgbench(results, dsn, drivers.one, KEYS, clients, max(1, round(plan.seconds)))
                    loop.run(drivers.in_flight(clients, plan.seconds))
                    loop.run(feast.in_flight(clients, plan.seconds))
            for round_ in range(plan.upsert_rounds if "writes" in self.parts else 0):
                self.say(f"writes, round {round_ + 1} of {plan.upsert_rounds}")
                worker("upsert", plan.upsert_rows, round_)
                loop.run(drivers.upsert(plan.upsert_rows, round_))
            if "faults" in self.parts:
                self.step(f"{plan.kills} backend kills", lambda: worker("kills", plan.kills))
                self.step("queries given up", lambda: worker("cancel", plan.cancels))
                loop.run(drivers.cancel(plan.cancels))
            if "joins" in self.parts:
                self.joins(worker, feast)
            loop.run(drivers.close())
        for millions in plan.memory_millions if "memory" in self.parts else ():
            self.say(f"{millions} million rows by one writer")
            # A process of its own, whose memory is this work's.
            with rust(dsn, SCHEMA, results) as worker:
                worker("memory", millions * 1_000_000)

    def joins(self, worker: Callable[..., None], feast: Feast) -> None:
        """The point-in-time join of a training set."""
        plan = self.plan
        self.step(f"a history of {plan.keys * plan.events:,} rows", lambda: worker("past", plan.keys, plan.events))
        for round_ in range(plan.joins):
            self.step(
                f"joins, round {round_ + 1} of {plan.joins}",
                lambda: worker("join", plan.entities, plan.keys, plan.events),
            )
        self.step("the history for Feast", lambda: feast.copy_past(plan.entities, plan.keys, plan.events))
        for frame in (False, True):
            self.step("Feast's join", lambda frame=frame: feast.join(plan.entities, frame, plan.feast_join_limit))


def main() -> None:
    """Parses arguments and runs."""
    parser = argparse.ArgumentParser(prog="benches/store/run.py", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, in about two minutes")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; may be given several times")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where to write (default: benches/results)")
    parser.add_argument("--plots-only", action="store_true", help="draw the plots from the table and samples of a former run")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.plots_only:
        report.plots(arguments.out)
        return
    plan = QUICK if arguments.quick else Plan()
    results = Results()
    run = Run(plan, set(arguments.part or PARTS), results)
    with postgres() as dsn, tempfile.TemporaryDirectory() as folder:
        described = report.describe(dsn, plan)
        run.all(dsn, Path(folder))
    results.write(arguments.out / "store.csv")
    report.write_distributions(results, arguments.out)
    report.plots(arguments.out)
    goals = report.goals(results)
    (arguments.out / "store_method.md").write_text(f"{described}\n{goals}")
    print(goals)
    run.say(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
