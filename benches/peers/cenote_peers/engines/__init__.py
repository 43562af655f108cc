"""The runtimes that are called from Python, one class each; `ENGINES` lists them by the name in the `who` column.

Each takes a `Forest` exactly as it is (or says why it can't), the rows in the form it likes best, and gives sums.
"""

from __future__ import annotations

from .base import Engine
from .catboost import CatBoost
from .gbdt import LightGBM, OneDal, XGBoost
from .onnx import OnnxRuntime
from .treelite import Gtil, Tl2cgen
from .ydf import Ydf, YdfEngine

ENGINES: dict[str, type[Engine]] = {
    engine.name: engine
    for engine in (Gtil, Tl2cgen, OnnxRuntime, XGBoost, LightGBM, OneDal, Ydf, YdfEngine, CatBoost)
}

__all__ = ["ENGINES", "Engine"]
