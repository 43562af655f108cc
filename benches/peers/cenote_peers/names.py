"""How runtimes and works are called and coloured wherever people read of them; `peers.csv` has the short names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Runtime:
    """`native`: scores the MOJO's own trees outside of Java, so that it counts for "the best native peer"."""

    label: str
    colour: str
    native: bool = False


OURS = "#0b7a75"
OURS_LIGHT = "#6bb5b1"
GREY = "#a7adb4"
DARK = "#3c4248"

RUNTIMES: dict[str, Runtime] = {
    "cenote": Runtime("cenote", OURS),
    "cenote_sums": Runtime("cenote, sums only", OURS_LIGHT),
    "cenote_avx2": Runtime("cenote, AVX2 only", OURS_LIGHT),
    "cenote_python": Runtime("cenote from Python", OURS_LIGHT),
    "onedal": Runtime("oneDAL", "#c1553b", native=True),
    "ydf_engine": Runtime("YDF, engine alone", "#c2589b", native=True),
    "ydf": Runtime("YDF from Python", "#8a5ba6", native=True),
    "xgboost": Runtime("XGBoost", "#3d6fb4", native=True),
    "onnxruntime": Runtime("ONNX Runtime", "#b98a2e", native=True),
    "tl2cgen": Runtime("TL2cgen (compiled)", "#5c8a3a", native=True),
    "lightgbm": Runtime("LightGBM", "#4fa3c7", native=True),
    "treelite_gtil": Runtime("treelite GTIL", "#8c564b", native=True),
    "catboost_oblivious": Runtime("CatBoost, own trees", "#c9a0dc"),
    "numpy": Runtime("NumPy", "#b98a2e", native=True),
    "genmodel": Runtime("H2O genmodel (Java)", DARK),
    "genmodel_easy": Runtime("H2O EasyPredict (Java)", DARK),
    "mojo_predict_pandas": Runtime("h2o.mojo_predict_pandas", DARK),
    "xgboost_pandas": Runtime("XGBoost from pandas", "#3d6fb4", native=True),
    "lightgbm_pandas": Runtime("LightGBM from pandas", "#4fa3c7", native=True),
}

# The works that the bars and the tables show, in their order.
WORKS: dict[str, str] = {
    "gbm_500x6_numeric": "GBM, 500 trees of depth 6",
    "gbm_1000x8_numeric": "GBM, 1000 trees of depth 8",
    "drf_100x20_numeric": "Random forest, 100 trees of depth 20",
    "gbm_500x6_flights": "GBM, 500 x 6, categories and gaps",
    "gbm_multinomial_10": "GBM of 10 classes, 500 trees of depth 6",
    "glm_highcard": "GLM, 3,948 levels",
    "one_row_500x6": "One row, GBM of 500 x 6",
    "pandas_100k": "From a pandas frame, 12 columns",
    "load": "Opening a model of 12 MB",
    "load_first": "Opening the first model of a process",
}


def label(who: str) -> str:
    """A runtime as a reader knows it."""
    return RUNTIMES[who].label if who in RUNTIMES else who


def title(work: str) -> str:
    """A work as a reader knows it."""
    return WORKS.get(work, work.removeprefix("zoo_"))


def is_native(who: str) -> bool:
    """Whether it counts for "the best native peer"."""
    return who in RUNTIMES and RUNTIMES[who].native
