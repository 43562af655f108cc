"""Cases with the answers of H2O's own Java scorer, read from `fixtures/zoo` with nothing but the standard library."""

from __future__ import annotations

import csv
import gzip
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cenote

ZOO = Path(__file__).resolve().parents[2] / "fixtures" / "zoo"

# The farthest that a probability or a GLM may be from Java's: see docs/numerics.md.
MOST_ULP = 4


def read(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header and the lines of a CSV, packed or not."""
    packed = path.with_name(path.name + ".gz")
    opened = gzip.open(packed, "rt", encoding="utf-8", newline="") if packed.exists() else path.open(
        encoding="utf-8", newline="")
    with opened as file:
        lines = csv.reader(file)
        return next(lines), list(lines)


@dataclass(frozen=True)
class Case:
    """A model, rows, and what H2O says of them."""

    folder: Path

    @property
    def mojo(self) -> Path:
        return self.folder / "model.zip"

    @cached_property
    def model(self) -> cenote.Model:
        return cenote.load(self.mojo)

    @cached_property
    def rows(self) -> list[dict[str, str | None]]:
        """Cells as text; an empty cell and ``NA`` are missing."""
        header, lines = read(self.folder / "input.csv")
        return [dict(zip(header, (None if cell in ("", "NA") else cell for cell in line), strict=True))
                for line in lines]

    @cached_property
    def columns(self) -> dict[str, list[str | None]]:
        return {name: [row[name] for row in self.rows] for name in self.rows[0]}

    @cached_property
    def options(self) -> Mapping[str, Any]:
        """Java loses columns whose names begin with `#`, and blanks around names: those of one case are not its rows'."""
        return {} if set(self.model.feature_names) <= set(self.columns) else {"missing_columns": "na"}

    @cached_property
    def expected(self) -> list[list[Any] | None]:
        """By row: a label first, if the model has labels, then numbers; ``None`` for a refused row."""
        header, lines = read(self.folder / "expected.csv")
        error = header.index("error") if "error" in header else None
        answers: list[list[Any] | None] = []
        for line in lines:
            if error is not None and line[error]:
                answers.append(None)
                continue
            cells: list[Any] = line[:error]
            labels = 1 if self.model.labels else 0
            answers.append(cells[:labels] + [number(cell) for cell in cells[labels:]])
        return answers

    def extra(self, name: str, prefix: str) -> list[list[str]] | None:
        """Columns that begin with `prefix` of another file of answers, if the case has it."""
        path = self.folder / name
        if not path.exists() and not path.with_name(name + ".gz").exists():
            return None
        header, lines = read(path)
        wanted = [index for index, column in enumerate(header) if column.startswith(prefix)]
        return [[line[index] for index in wanted] for line in lines]


def number(text: str) -> float:
    return float(text) if text else math.nan


def cases() -> list[Case]:
    return [Case(folder.parent) for folder in sorted(ZOO.glob("*/model.zip"))]


def case(name: str) -> Case:
    return Case(ZOO / name)


def _ordered(value: float) -> int:
    bits: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return bits if bits >= 0 else -(bits & 0x7FFF_FFFF_FFFF_FFFF)


def same(found: Any, expected: Any) -> bool:
    """Whether two cells are equal: labels exactly, numbers within MOST_ULP."""
    if isinstance(expected, str) or expected is None:
        return bool(found == expected)
    if found is None or isinstance(found, str):
        return False
    found = float(found)
    if math.isnan(expected) or math.isnan(found):
        return math.isnan(expected) and math.isnan(found)
    if math.isinf(expected) or math.isinf(found):
        return bool(found == expected)
    return abs(_ordered(found) - _ordered(expected)) <= MOST_ULP


def check(columns: Mapping[str, Sequence[Any]], expected: Sequence[Sequence[Any] | None]) -> None:
    """Compares columns of predictions, in order, with rows of answers."""
    names = [name for name in columns if name != "error"]
    for name in names:
        assert len(columns[name]) == len(expected), f"{name}: {len(columns[name])} rows"
    for row, answer in enumerate(expected):
        if answer is None:
            assert columns["error"][row], f"row {row} should be refused"
            continue
        for name, wanted in zip(names, answer, strict=False):
            found = columns[name][row]
            assert same(found, wanted), f"row {row}, {name}: found {found!r}, H2O says {wanted!r}"
