"""From a pandas frame with categorical columns: H2O's own way, and XGBoost and LightGBM as a user would call them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ..data import encode_categorical
from .base import Engine
from .gbdt import LightGBM, XGBoost


class MojoPredictPandas(Engine):
    """`h2o.mojo_predict_pandas`: it writes a CSV, starts a JVM, scores, and reads a CSV back."""

    name = "mojo_predict_pandas"
    package = "h2o"
    reads_mojo = True
    gives = "predictions"

    def load(self, path: Path, forest: Any) -> None:
        import h2o

        self.outputs = forest.n_outputs
        self.path = str(path)
        self.jar = str(Path(h2o.__file__).parent / "backend" / "bin" / "h2o.jar")
        self._predict = h2o.mojo_predict_pandas

    def form(self, x: Any) -> Any:
        return x

    def slice(self, formed: Any, start: int, stop: int) -> Any:
        return formed.iloc[start:stop]

    def predict(self, batch: Any) -> Any:
        with tempfile.TemporaryDirectory() as scratch:
            here = os.getcwd()
            os.chdir(scratch)
            try:
                return self._predict(batch, mojo_zip_path=self.path, genmodel_jar_path=self.jar)
            finally:
                os.chdir(here)

    def margins(self, output: Any) -> np.ndarray:
        return output.iloc[:, -self.outputs :].to_numpy(dtype=np.float64)


class _FromFrame(Engine):
    """Encodes the frame's categorical columns by the model's levels, then predicts: both are timed."""

    def load(self, path: Path, forest: Any) -> None:
        self.names, self.domains = forest.names, forest.domains
        super().load(path, forest)

    def form(self, x: Any) -> Any:
        return x

    def slice(self, formed: Any, start: int, stop: int) -> Any:
        return formed.iloc[start:stop]


class XGBoostPandas(_FromFrame, XGBoost):
    """A frame to float32 codes, then XGBoost."""

    name = "xgboost_pandas"

    def predict(self, batch: Any) -> Any:
        return XGBoost.predict(self, encode_categorical(batch, self.names, self.domains))


class LightGBMPandas(_FromFrame, LightGBM):
    """A frame to float32 codes, then LightGBM."""

    name = "lightgbm_pandas"

    def predict(self, batch: Any) -> Any:
        return LightGBM.predict(self, LightGBM.form(self, encode_categorical(batch, self.names, self.domains)))
