"""The Rust side: a process that is told what to measure, one work after another."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .results import Results

PROGRAM = Path(__file__).resolve().parents[3] / "target" / "release" / "peers-store"


class Rust:
    """A running `peers-store`."""

    def __init__(self, process: subprocess.Popen[str], results: Results) -> None:
        self._process = process
        self._results = results

    def __call__(self, work: str, *numbers: int) -> None:
        """Lets it do a work and keeps what it measures."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(work, *numbers, file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            kind, *words = line.rstrip("\n").split(",")
            if kind == "done":
                return
            if kind == "sample":
                self._results.sample(words[0], words[1], [float(time) for time in words[2].split()])
            else:
                self._results.value(words[0], words[1], words[2], float(words[3]))
        raise SystemExit(f"peers-store ended in {work}")


@contextmanager
def rust(dsn: str, schema: str, results: Results, program: Path = PROGRAM) -> Iterator[Rust]:
    """Starts the program; ends it with the block."""
    command = [str(program), dsn, schema]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Rust(process, results)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
