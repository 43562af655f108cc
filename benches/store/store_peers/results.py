"""What a run gathers: samples of latency and single values, by work and contender; and their table `work,who,metric,value`."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median

PERCENTILES = (10, 50, 90, 99)
# Of a value that was measured in several rounds the best is kept, as the machine's other work can only slow it down.
BEST = {"rows_per_s": max, "calls_per_s": max, "s": min}


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` per cent of the ordered values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]


class Results:
    """Samples are microseconds; values have their unit in the metric's name."""

    def __init__(self) -> None:
        self.samples: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        self.values: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)

    def sample(self, work: str, who: str, times: Sequence[float]) -> None:
        """Adds latencies in microseconds."""
        self.samples[work, who].extend(times)

    def value(self, work: str, who: str, metric: str, value: float) -> None:
        """Adds one value."""
        self.values[work, who, metric].append(value)

    def get(self, work: str, who: str, metric: str) -> float | None:
        """The value that the table has."""
        found = self.values.get((work, who, metric))
        if found:
            return BEST.get(metric, median)(found)
        ordered = sorted(self.samples.get((work, who), ()))
        if not ordered:
            return None
        if metric == "max_us":
            return ordered[-1]
        return percentile(ordered, float(metric.removeprefix("p").removesuffix("_us")))

    def rows(self) -> list[tuple[str, str, str, float]]:
        """The whole table."""
        names = [f"p{share}_us" for share in PERCENTILES] + ["max_us"]
        keys = [(*key, metric) for key in self.samples for metric in names] + list(self.values)
        rows = [(*key, value) for key in keys if (value := self.get(*key)) is not None]
        return sorted(rows, key=lambda row: row[:2])

    def write(self, path: Path) -> None:
        """Saves the table."""
        with path.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["work", "who", "metric", "value"])
            table.writerows((*key, f"{value:.4g}" if value < 1e4 else f"{value:.0f}") for *key, value in self.rows())
