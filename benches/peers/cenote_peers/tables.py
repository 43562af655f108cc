"""`peers.csv` as text: a table a work in the terminal, and `peers_table.md`, which the documentation takes over."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .names import WORKS, is_native, label, title

FULL_BATCH = 100_000
BEGIN, END = "<!-- peers_table: written by make peers -->", "<!-- peers_table: end -->"


@dataclass(frozen=True)
class Goal:
    """What is wanted of a work: nanoseconds a row a tree of the sums, and how many times faster than the others."""

    work: str
    sums: float
    genmodel: float
    native: float


GOALS = (
    Goal("gbm_500x6_numeric", 0.8, 140, 10),
    Goal("gbm_1000x8_numeric", 3, 55, 3),
    Goal("drf_100x20_numeric", 15, 34, 5),
    Goal("gbm_500x6_flights", 1.2, 90, 7),
    Goal("gbm_multinomial_10", 1.0, 100, 8),
)
MOST_AVX2 = 2.2  # times the figure of AVX-512
ONE_ROW = Goal("one_row_500x6", 2, 28, 15)  # microseconds in all
PANDAS_GENMODEL, PANDAS_MOJO_PREDICT, LOAD_GENMODEL = 30, 100, 10


class Results:
    """The lines of `peers.csv` by work, runtime, threads and batch."""

    def __init__(self, lines: Iterable[dict[str, str]]) -> None:
        self.lines = list(lines)
        self._by_cell = {
            (line["work"], line["who"], int(line["threads"]), int(line["batch"])): line for line in self.lines
        }

    @classmethod
    def read(cls, path: Path) -> Results:
        """Reads a `peers.csv`."""
        with path.open(newline="") as file:
            return cls(csv.DictReader(file))

    def value(self, work: str, who: str, threads: int, batch: int, unit: str = "ns_per_row_tree") -> float | None:
        """One figure, or None where it was not measured."""
        line = self._by_cell.get((work, who, threads, batch))
        return None if line is None else float(line[unit])

    def who(self, work: str) -> list[str]:
        """Who has a figure in a work."""
        return list(dict.fromkeys(line["who"] for line in self.lines if line["work"] == work))

    def batches(self, work: str, threads: int) -> list[int]:
        """The batch sizes that were measured with that many threads."""
        found = {int(x["batch"]) for x in self.lines if x["work"] == work and int(x["threads"]) == threads}
        return sorted(found)

    def best_native(self, work: str, threads: int, batch: int) -> tuple[str, float] | None:
        """The fastest runtime that scores the same trees outside of Java."""
        found = [
            (value, who)
            for who in self.who(work)
            if is_native(who) and (value := self.value(work, who, threads, batch)) is not None
        ]
        return (min(found)[1], min(found)[0]) if found else None


def in_terminal(results: Results, work: str) -> str:
    """One work: a line a runtime, a column a (threads, batch), in ns a row a tree; fastest first."""
    cells = [(threads, batch) for threads in range(1, 65) for batch in results.batches(work, threads)]
    last = max((cell for cell in cells if cell[0] == 1), default=(1, 1))
    value = {(who, *cell): results.value(work, who, *cell) for who in results.who(work) for cell in cells}
    order = sorted(results.who(work), key=lambda who: value[who, *last] or float("inf"))
    head = f"{work}, ns a row a tree".ljust(36) + "".join(f"{t}T x {b}".rjust(13) for t, b in cells)
    body = [
        who.rjust(34) + "  " + "".join(" " * 13 if (v := value[who, *cell]) is None else f"{v:13.4g}" for cell in cells)
        for who in order
    ]
    return "\n".join([head, *body, ""])


def number(value: float | None, unit: str = "") -> str:
    """Three digits, or nothing."""
    if value is None:
        return ""
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return text + unit


def _times(other: float | None, ours: float | None) -> str:
    return "" if other is None or not ours else f"{number(other / ours)}"


def _markdown(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    rule = ["---" if name == "which" or at == 0 else "--:" for at, name in enumerate(head)]
    return ["| " + " | ".join(line) + " |" for line in (head, rule, *body)]


def goals(results: Results) -> list[str]:
    """Markdown: what was wanted beside what was measured, one thread, 100,000 rows a call. [] where too little ran."""
    body = []
    for goal in GOALS:
        cell = (goal.work, "cenote", 1, FULL_BATCH)
        whole = results.value(*cell)
        if whole is None:
            continue
        sums = results.value(goal.work, "cenote_sums", 1, FULL_BATCH)
        native = results.best_native(goal.work, 1, FULL_BATCH)
        genmodel = results.value(goal.work, "genmodel", 1, FULL_BATCH)
        body.append((
            title(goal.work), f"{number(sums)} ({goal.sums:g})", number(whole),
            f"{_times(genmodel, whole)} ({goal.genmodel:g})",
            f"{_times(native[1], sums or whole) if native else ''} ({goal.native:g})",
            label(native[0]) if native else "",
        ))  # fmt: skip
    one = results.value(ONE_ROW.work, "cenote", 1, 1, "us_per_row")
    if one is not None:
        native = results.best_native(ONE_ROW.work, 1, 1)
        native_us = native and results.value(ONE_ROW.work, native[0], 1, 1, "us_per_row")
        genmodel = results.value(ONE_ROW.work, "genmodel", 1, 1, "us_per_row")
        body.append((
            title(ONE_ROW.work) + ", microseconds in all", "", f"{number(one)} ({ONE_ROW.sums:g})",
            f"{_times(genmodel, one)} ({ONE_ROW.genmodel:g})", f"{_times(native_us, one)} ({ONE_ROW.native:g})",
            label(native[0]) if native else "",
        ))  # fmt: skip
    frame = results.value("pandas_100k", "cenote", 1, FULL_BATCH, "us_per_row")
    if frame is not None:
        genmodel = results.value("pandas_100k", "genmodel", 1, FULL_BATCH, "us_per_row")
        native = results.best_native("pandas_100k", 1, FULL_BATCH)
        body.append((
            title("pandas_100k") + ", microseconds a row", "", number(frame),
            f"{_times(genmodel, frame)} ({PANDAS_GENMODEL})",
            _times(results.value("pandas_100k", native[0], 1, FULL_BATCH, "us_per_row"), frame) if native else "",
            label(native[0]) if native else "",
        ))  # fmt: skip
    if not body:
        return []
    head = ("work (goals in brackets)", "sums only", "prediction", "times genmodel", "times the best native", "which")
    lines = _markdown(head, body)
    others = []
    mojo = results.value("pandas_100k", "mojo_predict_pandas", 1, FULL_BATCH, "us_per_row")
    if frame is not None and mojo is not None:
        others.append(f"`h2o.mojo_predict_pandas`: {_times(mojo, frame)} times ({PANDAS_MOJO_PREDICT})")
    ratios = {
        goal.work: slow / fast
        for goal in GOALS
        if (slow := results.value(goal.work, "cenote_avx2", 1, FULL_BATCH))
        and (fast := results.value(goal.work, "cenote", 1, FULL_BATCH))
    }
    if ratios:
        text = ", ".join(f"{number(ratio)} ({title(work)})" for work, ratio in ratios.items())
        others.append(f"AVX2 alone, times the figure of all instructions (at most {MOST_AVX2:g}): {text}")
    for count in sorted({int(line["threads"]) for line in results.lines}):
        for work, what in (("load_first", "the first model of a process"), ("load", "a model again and again")):
            load, java = (results.value(work, who, count, 1, "us_per_row") for who in ("cenote", "genmodel"))
            if load is not None and java is not None:
                others.append(
                    f"opening {what}, 12 MB, {count} thread{'s' * (count > 1)}: {number(load / 1000)} ms, "
                    f"Java {number(java / 1000)} ms: {_times(java, load)} times ({LOAD_GENMODEL})"
                )
    said = (
        "One thread, 100,000 rows a call, nanoseconds a row a tree. Like stands beside like: predictions and",
        "genmodel's, sums and the sums that native runtimes give (oneDAL of many classes: predictions).",
    )
    return [*said, "", *lines, *([""] if others else []), *(f"- {line}" for line in others)]


def _by_runtime(results: Results, threads: int) -> list[str]:
    """Markdown: a line a runtime, a column a work, at the largest batch."""
    works = [work for work in WORKS if work not in ("load", "load_first") and results.batches(work, threads)]
    units = {"one_row_500x6": ("us_per_row", "us"), "pandas_100k": ("us_per_row", "us a row")}
    head = ["", *(title(work) + (f", {units[work][1]}" if work in units else "") for work in works)]
    whos = list(dict.fromkeys(who for work in works for who in results.who(work)))
    body = []
    for who in whos:
        cells = []
        for work in works:
            unit = units.get(work, ("ns_per_row_tree", ""))[0]
            cells.append(number(results.value(work, who, threads, max(results.batches(work, threads)), unit)))
        if any(cells):
            body.append((label(who), *cells))
    return _markdown(head, body) if works else []


def _by_batch(results: Results, work: str) -> list[str]:
    batches = results.batches(work, 1)
    body = [
        (label(who), *(number(results.value(work, who, 1, batch)) for batch in batches)) for who in results.who(work)
    ]
    return _markdown(["rows a call", *(f"{batch:,}" for batch in batches)], body)


def table(results: Results) -> str:
    """The whole of `peers_table.md`."""
    lines = [
        "# What `make peers` measured",
        "",
        "Written by the run; [peers_method.md](peers_method.md) says when, on what machine and how. Nanoseconds a row",
        "a tree unless a heading says otherwise; less is better.",
        "",
    ]
    if goal_lines := goals(results):
        lines += ["## Beside the goals", "", *goal_lines, ""]
    threads = sorted({int(line["threads"]) for line in results.lines})
    for count in threads:
        many = f"{count} threads" if count > 1 else "One thread"
        lines += [f"## {many}, the largest batch", "", *_by_runtime(results, count), ""]
    for work in WORKS:
        if len(results.batches(work, 1)) > 2:
            lines += [f"## {title(work)}, one thread, by rows a call", "", *_by_batch(results, work), ""]
    lines += ["CatBoost scores trees of its own, all of whose nodes of a level ask one question: an easier problem."]
    return "\n".join(lines) + "\n"


def fill(page: Path, results: Results) -> None:
    """Puts the goals' table between the two marks of a page, which must be there."""
    text = page.read_text()
    before, rest = text.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    page.write_text("\n".join([before + BEGIN, "", *goals(results), "", END + after]))
