"""The run: hand the forest over, check outputs, then time everyone in turn, round after round; write what came out."""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from . import method, plots, tables, train, works
from .contestants import QUICK, CannotHold, Contestant, PeerError, Process, build, compile_java, difference, takes_part
from .contestants import rust_binary as rust
from .engines import ENGINES
from .works import Ready, Work

RESULTS = train.PEERS.parent / "results"
PAGE = train.ROOT / "docs" / "performance.md"
COLUMNS = ("work", "who", "threads", "batch", "ns_per_row_tree", "us_per_row", "rows_per_s")
SETTLE = 0.02  # seconds of quiet before each turn


@dataclass
class Plan:
    """How long to measure."""

    rounds: int = 3
    sample_seconds: float = 0.1
    cell_seconds: float = 3.0  # a cell is not begun again once it has taken so long
    longest: float = 60.0  # a batch that would take longer is not begun
    longest_shared: float = 20.0  # a batch that takes one thread longer is not given to more threads
    warm_seconds: float = 1.0
    rows: int = 100_000
    check_rows: int = 2000
    largest_batch: int = 100_000
    all_threads: int = os.cpu_count() or 1


@dataclass
class Outcome:
    """Samples in seconds a row, and what the notes file says."""

    samples: dict[tuple[str, str, int, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    notes: list[dict[str, object]] = field(default_factory=list)
    trees: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, dict[str, float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def fail(self, work: str, who: str, text: str) -> None:
        """Notes what should not have happened: the run goes on, and its exit code tells."""
        self.note(work, who, text)
        self.failures.append(f"{work}, {who}: {text}")
        print(f"    {who} {text}", file=sys.stderr)

    def note(self, work: str, who: str, text: str, diff: float | None = None, tolerance: float | None = None) -> None:
        """Says, once, what became of a contestant in a work."""
        line: dict[str, object] = {
            "work": work, "who": who, "note": text,
            "max_difference": "" if diff is None else f"{diff:.3g}",
            "tolerance": "" if tolerance is None else f"{tolerance:.3g}",
        }  # fmt: skip
        if line not in self.notes:
            self.notes.append(line)

    def results(self) -> tables.Results:
        """The lines of `peers.csv` as the tables and the pictures take them."""
        return tables.Results({name: str(value) for name, value in line.items()} for line in self.rows())

    def rows(self, pick: str = "min") -> list[dict[str, object]]:
        """The lines of `peers.csv`, of the least (`min`) or the middle (`median`) of the samples."""
        lines = []
        for (work, who, threads, batch), samples in self.samples.items():
            seconds = min(samples) if pick == "min" else statistics.median(samples)
            values = (
                work, who, threads, batch,
                f"{seconds / self.trees[work] * 1e9:.4g}", f"{seconds * 1e6:.4g}", f"{1 / seconds:.4g}",
            )  # fmt: skip
            lines.append(dict(zip(COLUMNS, values, strict=True)))
        return lines


class Stage:
    """The workers of one number of threads, started when first needed and kept to the end."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._running: dict[Contestant, Process] = {}

    def open(self, contestant: Contestant, ready: Ready) -> Process:
        """Has the contestant open a work's model and rows. Raises `CannotHold` or `PeerError`."""
        model = build(contestant, ready)
        process = self._running.get(contestant)
        if process is None:
            process = self._running[contestant] = Process(contestant, self.threads)
        rows = ready.frame if contestant.engine.startswith("frame:") else ready.rows
        try:
            process.ask("open", model, rows, ready.columns, ready.context)
        except PeerError:
            self.drop(contestant)
            raise
        return process

    def drop(self, contestant: Contestant) -> None:
        """Ends a worker that failed; the next work starts it anew."""
        process = self._running.pop(contestant, None)
        if process is not None:
            process.close()

    def close(self) -> None:
        """Ends all workers."""
        for contestant in list(self._running):
            self.drop(contestant)


def _seconds_each(answer: str) -> float:
    """Seconds a row (or a load) of a worker's answer to `time` or `load`."""
    nanoseconds, rows = map(float, answer.split())
    return nanoseconds / 1e9 / rows


def _too_long(outcome: Outcome, work: str, who: str, threads: int, batch: int, plan: Plan) -> str:
    """Why a batch is not begun, judged by what the runtime took for it alone or for a smaller one; "" if it is."""
    alone = outcome.samples.get((work, who, 1, batch))
    if threads > 1 and alone and min(alone) * batch > plan.longest_shared:
        return f"batch {batch}, {threads} threads: not run, one thread took {min(alone) * batch:.0f} s"
    sizes = sorted(b for w, c, t, b in outcome.samples if (w, c, t) == (work, who, threads) and b < batch)
    if len(sizes) > 1:  # what a row more costs, so that a start of Java is not counted for each
        small, large = (min(outcome.samples[work, who, threads, b]) * b for b in sizes[-2:])
        if (long := large + (large - small) / (sizes[-1] - sizes[-2]) * (batch - sizes[-1])) > plan.longest:
            return f"batch {batch}, {threads} threads: not run, it would take {long:.0f} s"
    return ""


def _time_work(ready: Ready, stage: Stage, batches: list[int], only: list[str], plan: Plan, outcome: Outcome) -> None:
    work, threads = ready.work, stage.threads
    able: list[tuple[Contestant, Process]] = []
    for contestant in takes_part(work.group, only):
        try:
            process = stage.open(contestant, ready)
            exact = contestant.engine not in ENGINES or ENGINES[contestant.engine].exact
            if exact:
                diff, tolerance = difference(ready, process)
                if not diff <= tolerance:
                    raise PeerError(f"outputs differ by {diff:.3g}, tolerance {tolerance:.3g}: not timed")
                if threads == 1:
                    outcome.note(work.name, contestant.who, contestant.note, diff, tolerance)
            elif threads == 1:
                outcome.note(work.name, contestant.who, contestant.note)
            if work.group != "load" and contestant.who != "mojo_predict_pandas":
                process.ask("time", min(1000, max(batches)), plan.warm_seconds if "java" in contestant.engine else 0.1)
            able.append((contestant, process))
        except CannotHold as reason:
            outcome.note(work.name, contestant.who, f"left out: {reason}")
        except PeerError as reason:
            outcome.fail(work.name, contestant.who, f"left out: {reason}")
    spent: dict[tuple[str, int], float] = defaultdict(float)
    for _ in range(plan.rounds):
        for batch in batches:
            for contestant, process in able:
                cell = (contestant.who, batch)
                if batch < contestant.least_batch or spent[cell] > plan.cell_seconds:
                    continue
                if reason := _too_long(outcome, work.name, contestant.who, threads, batch, plan):
                    outcome.note(work.name, contestant.who, reason)
                    continue
                time.sleep(SETTLE)
                began = time.perf_counter()
                try:
                    if work.group == "load":
                        answer = process.ask("load", plan.sample_seconds)
                    else:
                        answer = process.ask("time", batch, plan.sample_seconds)
                except PeerError as reason:
                    outcome.fail(work.name, contestant.who, f"batch {batch}, {threads} threads: {reason}")
                    spent[cell] = float("inf")
                    continue
                spent[cell] += time.perf_counter() - began
                outcome.samples[work.name, contestant.who, threads, batch].append(_seconds_each(answer))


def _time_first(ready: Ready, threads: int, only: list[str], plan: Plan, outcome: Outcome) -> None:
    """What a process takes to open its first model: a new one for each sample, whose own start does not count."""
    work = ready.work
    for _ in range(plan.rounds):
        for contestant in takes_part(work.group, only):
            time.sleep(SETTLE)
            try:
                process = Process(contestant, threads)
                answer = process.ask("first", ready.mojo)
                process.close()
            except PeerError as reason:
                outcome.fail(work.name, contestant.who, f"{threads} threads: {reason}")
                continue
            outcome.samples[work.name, contestant.who, threads, 1].append(_seconds_each(answer))


def run(chosen: list[Work], only: list[str], plan: Plan, folder: Path) -> Outcome:
    """Measures the works, all contestants of a work in turn, first on one thread; writes to `folder` after each."""
    outcome = Outcome()
    ready: dict[Work, Ready] = {}
    for threads in sorted({1, plan.all_threads}):
        stage = Stage(threads)
        try:
            for work in chosen:
                sizes = work.one_thread if threads == 1 else work.all_threads
                batches = sorted({min(size, plan.largest_batch) for size in sizes})
                if not batches:
                    continue
                start = time.perf_counter()
                print(f"{work.name}, {threads} thread{'s' * (threads > 1)}", file=sys.stderr)
                if work not in ready:
                    ready[work] = works.make_ready(work, plan.rows, plan.check_rows)
                    outcome.trees[work.name], outcome.shapes[work.name] = ready[work].n_trees, ready[work].shape
                if work.group == "first":
                    _time_first(ready[work], threads, only, plan, outcome)
                else:
                    _time_work(ready[work], stage, batches, only, plan, outcome)
                print(tables.in_terminal(outcome.results(), work.name), flush=True)
                print(f"    {time.perf_counter() - start:.0f} s", file=sys.stderr)
                save(outcome, plan, folder)
        finally:
            stage.close()
    return outcome


def _write_csv(path: Path, columns: tuple[str, ...], lines: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def save(outcome: Outcome, plan: Plan, folder: Path) -> None:
    """Writes the CSV files and the method."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_csv(folder / "peers.csv", COLUMNS, outcome.rows())
    _write_csv(folder / "peers_median.csv", COLUMNS, outcome.rows("median"))
    _write_csv(folder / "peers_notes.csv", ("work", "who", "note", "max_difference", "tolerance"), outcome.notes)
    (folder / "peers_method.md").write_text(method.describe(outcome, plan))


def show(results: tables.Results, folder: Path) -> None:
    """Draws the pictures and writes `peers_table.md`; the documentation's page takes over what goes to its folder."""
    plots.draw(results, folder)
    (folder / "peers_table.md").write_text(tables.table(results))
    if folder.resolve() == RESULTS:
        tables.fill(PAGE, results)


def main() -> None:
    """Reads the command line, trains what is missing, runs, saves."""
    parser = argparse.ArgumentParser(prog="run.py", description="Runs cenote beside other runtimes of H2O's models.")
    parser.add_argument("--work", action="append", default=[], metavar="NAME", help="only this work; may be repeated")
    parser.add_argument("--who", action="append", default=[], metavar="NAME", help="only this runtime; may be repeated")
    parser.add_argument("--rounds", type=int, default=Plan.rounds, help="turns each cell gets (default %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=Plan.all_threads, help="beside one thread (default %(default)s; 1: no others)"
    )
    parser.add_argument("--rows", type=int, default=Plan.rows, help="and the largest batch (default %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the files go (default benches/results)")
    parser.add_argument(
        "--quick", action="store_true", help="one round, few peers, small batches: does it work at all?"
    )
    parser.add_argument("--plots-only", action="store_true", help="draw the plots of --out/peers.csv again")
    arguments = parser.parse_args()
    if arguments.plots_only:
        show(tables.Results.read(arguments.out / "peers.csv"), arguments.out)
        return
    rows = arguments.rows
    plan = Plan(rounds=arguments.rounds, rows=rows, largest_batch=rows, all_threads=arguments.threads)
    only, names = arguments.who, arguments.work
    if arguments.quick:
        plan = Plan(
            rounds=1, sample_seconds=0.01, cell_seconds=1.0, longest=20.0, warm_seconds=0.1, rows=1000,
            check_rows=200, largest_batch=1000,
        )  # fmt: skip
        only = only or list(QUICK)
        names = names or ["gbm_500x6_numeric", "gbm_500x6_flights", "glm_highcard"]
        arguments.out = train.CACHE / "quick" if arguments.out == RESULTS else arguments.out
    chosen = works.chosen(names)
    untrained = list(works.missing_models(chosen))
    if untrained:
        print(f"training {', '.join(untrained)} with H2O (kept in target/peers/models)", file=sys.stderr)
        train.train(untrained, train.CACHE / "models")
    compile_java()
    if not rust().exists():
        print(f"{rust()} is not built: cenote's Rust figures are left out", file=sys.stderr)
    outcome = run(chosen, only, plan, arguments.out)
    show(outcome.results(), arguments.out)
    print(f"written to {arguments.out}", file=sys.stderr)
    if outcome.failures:
        print("not all took part:", *outcome.failures, sep="\n  ", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
