"""What a runtime must do to be timed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..forest import Forest


class CannotHold(Exception):
    """The runtime can't represent the forest; the message says why."""


class Engine(ABC):
    """One runtime. `build` is called once and its file kept; a worker then calls `load`, `form` and `predict`."""

    name: ClassVar[str]
    package: ClassVar[str]  # whose version is reported
    exact: ClassVar[bool] = True  # takes the MOJO's trees; else it trains a forest of its own
    build_seconds: ClassVar[float] = 180.0  # how long `build` may take
    suffix: ClassVar[str] = ""  # of the file that `build` writes, where the runtime minds
    sums_in: ClassVar[str] = "float32"
    reads_mojo: ClassVar[bool] = False  # `load` is given the MOJO itself, and nothing is built
    gives: str = "sums"  # or "predictions": after the link
    note: ClassVar[str] = ""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.init = 0.0
        self.model: Any = None

    def build(self, forest: Forest, nan_rows: bool, path: Path) -> None:
        """Writes the runtime's own form of `forest` to `path`; `nan_rows` says whether rows hold missing values.

        Not called for a runtime that has none of its own. Raises `CannotHold`.
        """
        raise CannotHold(f"{self.name} has no form of its own to build")

    @abstractmethod
    def load(self, path: Path, forest: Forest) -> None:
        """Reads what `build` wrote, with whatever else of `forest` the calls need."""

    def form(self, x: np.ndarray) -> Any:
        """The rows (float32, row-major, NaN where missing) as the runtime likes them best. Not timed."""
        return np.ascontiguousarray(x)

    def slice(self, formed: Any, start: int, stop: int) -> Any:
        """A batch of what `form` gave. Not timed."""
        return formed[start:stop]

    @abstractmethod
    def predict(self, batch: Any) -> Any:
        """The call that is timed."""

    def margins(self, output: Any) -> np.ndarray:
        """What `predict` gave as sums, `[rows x classes]`, float64. Not timed."""
        return np.asarray(output, dtype=np.float64)

    def measure(self, batches: list[Any], seconds: float) -> tuple[float, int] | None:
        """A runtime's own clock, for one that times itself: (seconds a row, rows); None to use ours."""
        return None
