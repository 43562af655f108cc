"""The runtimes that are called from Python, one class each; `ENGINES` lists them by the name in the `who` column.

Each takes a `Forest` exactly as it is (or says why it can't), the rows in the form it likes best, and gives sums.
"""

from __future__ import annotations

from .base import CannotHold, Engine
from .catboost import CatBoost
from .frames import LightGBMPandas, MojoPredictPandas, XGBoostPandas
from .gbdt import LightGBM, OneDal, XGBoost
from .onnx import OnnxRuntime
from .own import CenotePandas, CenotePython, NumpyGlm
from .treelite import Gtil, Tl2cgen
from .ydf import Ydf, YdfEngine

ON_ARRAYS: tuple[type[Engine], ...] = (
    CenotePython, OneDal, Ydf, YdfEngine, XGBoost, OnnxRuntime, Tl2cgen, LightGBM, Gtil, CatBoost,
)  # fmt: skip
ON_FRAMES: tuple[type[Engine], ...] = (CenotePandas, XGBoostPandas, LightGBMPandas, MojoPredictPandas)

ENGINES: dict[str, type[Engine]] = {
    **{engine.name: engine for engine in (*ON_ARRAYS, NumpyGlm)},
    **{f"frame:{engine.name}": engine for engine in ON_FRAMES},
}

__all__ = ["ENGINES", "ON_ARRAYS", "ON_FRAMES", "CannotHold", "Engine", "NumpyGlm"]
