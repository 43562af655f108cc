"""Trains the models with H2O and exports their MOJOs.

Those small enough to commit lie in `benches/models`; the others are trained when first needed and kept under `target`.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from . import data

PEERS = Path(__file__).resolve().parents[1]
ROOT = PEERS.parents[1]
COMMITTED = PEERS.parent / "models"
CACHE = ROOT / "target" / "peers"


@dataclass(frozen=True)
class Recipe:
    """How a model is made. `frame` gives the training rows, `response` the column that is predicted."""

    algo: str
    frame: Callable[[], pd.DataFrame]
    response: str
    parameters: dict[str, Any]
    categorical: frozenset[str] = frozenset()
    columns: tuple[str, ...] = ()


def _numeric(rows: int, kind: str) -> Callable[[], pd.DataFrame]:
    return lambda: data.numeric_frame(rows, 1, kind)


def _flights() -> pd.DataFrame:
    return data.split_flights()[0]


# Random split points, few columns a split and small steps keep splits even and thresholds many to the last tree.
_GBM: dict[str, Any] = {"histogram_type": "Random", "col_sample_rate": 0.3, "sample_rate": 0.7, "seed": 1}

RECIPES: dict[str, Recipe] = {
    "gbm_500x6_numeric": Recipe(
        "gbm", _numeric(40_000, "binomial"), "y",
        _GBM | {"ntrees": 500, "max_depth": 6, "learn_rate": 0.005, "min_rows": 60},
    ),
    "gbm_1000x8_numeric": Recipe(
        "gbm", _numeric(80_000, "regression"), "y",
        _GBM | {"ntrees": 1000, "max_depth": 8, "learn_rate": 0.003, "min_rows": 40},
    ),
    "drf_100x20_numeric": Recipe(
        "drf", _numeric(60_000, "binomial"), "y",
        {"ntrees": 100, "max_depth": 20, "min_rows": 5, "histogram_type": "Random", "seed": 1},
    ),
    "gbm_500x6_flights": Recipe(
        "gbm", _flights, "late",
        {"ntrees": 500, "max_depth": 6, "learn_rate": 0.03, "min_rows": 20, "nbins_cats": 64, "seed": 1},
        data.FLIGHT_CATEGORICAL, data.FLIGHT_COLUMNS,
    ),
    "gbm_multinomial_10": Recipe(
        "gbm", _numeric(40_000, "multinomial"), "y",
        _GBM | {"ntrees": 50, "max_depth": 6, "learn_rate": 0.02, "min_rows": 60},
    ),
    "glm_highcard": Recipe(
        "glm", _flights, "late",
        {"family": "binomial", "alpha": 0.0, "lambda_": 1e-4, "solver": "L_BFGS", "max_iterations": 60, "seed": 1},
        data.FLIGHT_CATEGORICAL, data.FLIGHT_COLUMNS,
    ),
    "pandas_100k": Recipe(
        "gbm", _flights, "late",
        {"ntrees": 500, "max_depth": 6, "learn_rate": 0.03, "min_rows": 20, "nbins_cats": 64, "seed": 1},
        data.FLIGHT_CATEGORICAL, data.FLIGHT_COLUMNS_12,
    ),
    **{
        f"gbm_100x{depth}_numeric": Recipe(
            "gbm", _numeric(60_000, "regression"), "y",
            _GBM | {"ntrees": 100, "max_depth": depth, "learn_rate": 0.02, "min_rows": 5},
        )
        for depth in (2, 4, 6, 8, 10, 12, 16)
    },
}  # fmt: skip


def find(name: str) -> Path | None:
    """The MOJO of a recipe, committed or cached."""
    for folder in (COMMITTED, CACHE / "models"):
        if (folder / f"{name}.zip").exists():
            return folder / f"{name}.zip"
    return None


def _estimator(recipe: Recipe) -> Any:
    from h2o import estimators

    classes = {
        "gbm": estimators.H2OGradientBoostingEstimator,
        "drf": estimators.H2ORandomForestEstimator,
        "glm": estimators.H2OGeneralizedLinearEstimator,
    }
    return classes[recipe.algo](**recipe.parameters)


def _free_port() -> int:
    """A port that nobody listens on, nor on the one after it: H2O takes both, and would join a server that is there."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port


def train(names: list[str], folder: Path) -> None:
    """Trains `names` in one H2O server of this process's own and writes `folder/NAME.zip`."""
    import h2o

    h2o.init(port=_free_port(), nthreads=-1, max_mem_size="4g", log_level="WARN", bind_to_localhost=True)
    h2o.no_progress()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for name in names:
            recipe = RECIPES[name]
            frame = recipe.frame()
            columns = list(recipe.columns) or [c for c in frame.columns if c != recipe.response]
            frame = frame[[*columns, recipe.response]]
            text = set(recipe.categorical)
            if not pd.api.types.is_numeric_dtype(frame[recipe.response]):
                text.add(recipe.response)
            with tempfile.TemporaryDirectory() as scratch:
                csv = Path(scratch) / "train.csv"
                frame.to_csv(csv, index=False)
                types = ["enum" if c in text else "real" for c in frame.columns]
                loaded = h2o.import_file(str(csv), col_types=types)
                model = _estimator(recipe)
                model.train(x=columns, y=recipe.response, training_frame=loaded)
                written = Path(model.download_mojo(scratch))
                target = folder / f"{name}.zip"
                shutil.move(written, target)
            h2o.remove_all()
            print(f"trained {name}: {target.stat().st_size / 1e6:.2f} MB", file=sys.stderr)
    finally:
        h2o.cluster().shutdown()


def main() -> None:
    """Trains the named models into `benches/models` unless told otherwise."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("names", nargs="+", choices=list(RECIPES), metavar="NAME", help=", ".join(RECIPES))
    parser.add_argument("--out", type=Path, default=COMMITTED)
    arguments = parser.parse_args()
    train(arguments.names, arguments.out)


if __name__ == "__main__":
    main()
