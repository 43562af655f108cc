"""A GLM as plain arrays, scored by NumPy: the oracle of the GLM work, and its yardstick."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .mojo import read_header


@dataclass
class Glm:
    """Level codes first, then numbers: `beta[offsets[i] + code]` and `beta[offsets[-1] + j] * x[j]`, then intercept."""

    offsets: np.ndarray
    beta: np.ndarray
    modes: np.ndarray
    means: np.ndarray
    names: list[str]
    domains: dict[str, list[str]]
    n_classes: int = 1

    @property
    def n_outputs(self) -> int:
        """Numbers in a prediction beside the label."""
        return 2

    def margins(self, x: np.ndarray) -> np.ndarray:
        """`[rows x 1]`; a missing level counts as the mode, a missing number as the mean."""
        n_cats = len(self.modes)
        out = np.full(len(x), self.beta[-1])
        for i in range(n_cats):
            code = np.where(np.isnan(x[:, i]), self.modes[i], x[:, i]).astype(np.intp)
            out += self.beta[self.offsets[i] + code]
        numbers = x[:, n_cats:].astype(np.float64)
        numbers = np.where(np.isnan(numbers), self.means, numbers)
        return (out + numbers @ self.beta[self.offsets[-1] : -1])[:, None]

    def predictions(self, margins: np.ndarray) -> np.ndarray:
        """Probabilities of both classes."""
        one = 1.0 / (1.0 + np.exp(-margins[:, 0]))
        return np.column_stack([1.0 - one, one])

    def float32_tolerance(self) -> float:
        """Unused: what scores this model sums in float64."""
        return 0.0


def read_glm(path: Path) -> Glm:
    """A binomial GLM that uses all levels and imputes means.

    Raises `ValueError` for any other.
    """
    with zipfile.ZipFile(path) as archive:
        header = read_header(archive)
    info = header.info
    if (info["algo"], info["family"], info["use_all_factor_levels"]) != ("glm", "binomial", "true"):
        raise ValueError(f"{path}: not a binomial glm with all levels")
    array = {key: np.array(json.loads(info[key])) for key in ("cat_offsets", "beta", "cat_modes", "num_means")}
    domains = {name: header.domains[name] for name in header.features if name in header.domains}
    return Glm(array["cat_offsets"], array["beta"], array["cat_modes"], array["num_means"], header.features, domains)
