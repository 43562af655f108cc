"""One runtime in a process of its own, told over a pipe what to do; `Bench.java` and cenote's binary speak the same.

A line holds words parted by tabs:

    open MODEL ROWS COLUMNS CONTEXT  ->  ok
    check N OUT                      ->  ok WIDTH WHAT  the first N rows' outputs, float64, row by row, are in OUT;
                                                         WHAT is sums or predictions
    time BATCH SECONDS               ->  NANOSECONDS ROWS
    load SECONDS                     ->  NANOSECONDS LOADS

`ROWS` is a file of float32, row by row. `time` scores batch after batch, round and round the rows, until so many
seconds have gone (at least one batch), and says how long that took; the batches are cut beforehand. With one thread
that is the less of the clock's time and the process's processor time, so that a busy machine does not count against
whoever had the turn; with more it is the clock's. A failure is answered with `error` and its text, a forest that the
runtime can't represent with `cannot` and why.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from .engines import ENGINES
from .engines.base import CannotHold, Engine

MOST_BATCHES = 4096


class Stopwatch:
    """Nanoseconds since it was made: the clock's, or processor time (children's too) where that is less."""

    def __init__(self, threads: int) -> None:
        self.alone = threads == 1
        self.cpu = self._cpu()
        self.start = time.perf_counter_ns()

    @staticmethod
    def _cpu() -> int:
        children = os.times()
        return time.process_time_ns() + int((children.children_user + children.children_system) * 1e9)

    def clock(self) -> int:
        """What the clock says."""
        return time.perf_counter_ns() - self.start

    def read(self) -> int:
        """What counts."""
        clock = self.clock()
        return min(clock, self._cpu() - self.cpu) if self.alone else clock


class Worker:
    """The runtime, the model that is open, and the batches that were last cut."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.rows = 0
        self.formed: Any = None
        self.paths: tuple[Path, Any] | None = None
        self.cut: tuple[int, list[Any]] = (0, [])

    def open(self, model: str, rows: str, columns: str, context: str) -> str:
        """Loads the model and the rows."""
        self.cut, self.formed = (0, []), None
        with open(context, "rb") as file:
            described = pickle.load(file)
        self.paths = (Path(model), described)
        self.engine.load(*self.paths)
        if rows.endswith(".pickle"):
            with open(rows, "rb") as file:
                x = pickle.load(file)
        else:
            x = np.fromfile(rows, dtype=np.float32).reshape(-1, int(columns))
        self.rows = len(x)
        self.formed = self.engine.form(x)
        return "ok"

    def check(self, count: str, out: str) -> str:
        """Scores the first rows as one batch."""
        batch = self.engine.slice(self.formed, 0, int(count))
        margins = self.engine.margins(self.engine.predict(batch))
        np.ascontiguousarray(margins, dtype=np.float64).tofile(out)
        return f"ok {margins.size // int(count)} {self.engine.gives}"

    def batches(self, size: int) -> list[Any]:
        """All whole batches of the rows, at most 4096 of them."""
        if self.cut[0] != size:
            starts = range(0, self.rows - size + 1, size)[:MOST_BATCHES]
            self.cut = (size, [self.engine.slice(self.formed, at, at + size) for at in starts])
        return self.cut[1]

    def time(self, batch: str, seconds: str) -> str:
        """Times whole batches."""
        size, limit = int(batch), int(float(seconds) * 1e9)
        batches = self.batches(size)
        watch = Stopwatch(self.engine.threads)
        own = self.engine.measure(batches, float(seconds))
        if own is not None:  # by the clock: the share of it that the processor gave is what counts
            return f"{own[0] * own[1] * 1e9 * watch.read() / watch.clock()} {own[1]}"
        predict = self.engine.predict
        done = 0
        watch = Stopwatch(self.engine.threads)
        while not done or watch.clock() < limit:
            for one in batches:
                predict(one)
                done += 1
                if watch.clock() >= limit:
                    break
        return f"{watch.read()} {done * size}"

    def load(self, seconds: str) -> str:
        """Times opening the model again and again."""
        assert self.paths is not None
        limit, done = int(float(seconds) * 1e9), 0
        watch = Stopwatch(self.engine.threads)
        while not done or watch.clock() < limit:
            self.engine.load(*self.paths)
            done += 1
        return f"{watch.read()} {done}"


def serve(engine: Engine) -> None:
    """Answers lines until the pipe closes. What the runtime itself prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = Worker(engine)
    verbs = {"open": worker.open, "check": worker.check, "time": worker.time, "load": worker.load}
    answers.write("ready\n")
    for line in sys.stdin:
        verb, *words = line.rstrip("\n").split("\t")
        try:
            answer = verbs[verb](*words)
        except Exception as error:  # the parent decides; one runtime's failure must not end the run
            known = isinstance(error, CannotHold)
            text = str(error) if known else f"{type(error).__name__}: {error}"
            answer = ("cannot " if known else "error ") + " ".join(text.split())
        answers.write(answer + "\n")


if __name__ == "__main__":
    serve(ENGINES[sys.argv[1]](int(sys.argv[2])))
