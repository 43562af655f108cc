"""cenote by its wheel, and the NumPy yardstick of the GLM work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .base import Engine


class CenotePython(Engine):
    """`cenote.load(path).predict(array)` on a float64 array: from rows to predictions, link and label too."""

    name = "cenote_python"
    package = "cenote"
    reads_mojo = True
    gives = "predictions"

    def load(self, path: Path, forest: Any) -> None:
        import cenote

        cenote.set_num_threads(self.threads)
        self.outputs = forest.n_outputs
        self.model = cenote.load(str(path))

    def form(self, x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x, dtype=np.float64)

    def predict(self, batch: Any) -> Any:
        return self.model.predict(batch)

    def margins(self, output: Any) -> np.ndarray:
        return np.asarray(output, dtype=np.float64)[:, -self.outputs :]


class CenotePandas(CenotePython):
    """`predict(frame)`, from a pandas frame with categorical columns to a pandas frame of predictions."""

    name = "cenote"

    def form(self, x: Any) -> Any:
        return x

    def slice(self, formed: Any, start: int, stop: int) -> Any:
        return formed.iloc[start:stop]

    def margins(self, output: Any) -> np.ndarray:
        return output.iloc[:, -self.outputs :].to_numpy(dtype=np.float64)


class NumpyGlm(Engine):
    """Six table look-ups and a matrix product in NumPy, to the linear predictor."""

    name = "numpy"
    package = "numpy"
    sums_in = "float64"

    def load(self, path: Path, forest: Any) -> None:
        self.model = forest

    def predict(self, batch: Any) -> Any:
        return self.model.margins(batch)
