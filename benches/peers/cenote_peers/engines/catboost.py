"""CatBoost on a forest of its own: oblivious trees, trained to predict the MOJO's sums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..forest import Forest
from .base import CannotHold, Engine


class CatBoost(Engine):
    """`predict(prediction_type="RawFormulaVal")` on a `Pool` made before the clock starts.

    All nodes of a level of an oblivious tree share one split, so that a tree is a look-up by as many bits as it is
    deep: an easier problem, shown as a yardstick.
    """

    name = "catboost_oblivious"
    package = "catboost"
    exact = False
    note = "its own oblivious trees, of the same number and depth"

    def build(self, forest: Forest, nan_rows: bool, path: Path) -> None:
        from catboost import CatBoostRegressor

        from ..data import gaussian_rows

        depth = max(tree.depth() for _, tree in forest.flat())
        if forest.domains or forest.n_classes > 1:
            raise CannotHold("the yardstick is trained for numeric columns and one sum only")
        if depth > 10:
            raise CannotHold("oblivious trees this deep are not practical (2^depth leaves)")
        x = gaussian_rows(20_000, 1)
        model = CatBoostRegressor(
            iterations=len(forest.trees), depth=depth, learning_rate=0.02, thread_count=2, random_seed=1, verbose=False,
            allow_writing_files=False,
        )  # fmt: skip
        model.fit(x, forest.margins(x)[:, 0])
        model.save_model(str(path))

    def load(self, path: Path, forest: Forest) -> None:
        from catboost import CatBoost as Model
        from catboost import Pool

        self.model = Model().load_model(str(path))
        self._pool = Pool

    def slice(self, formed: Any, start: int, stop: int) -> Any:
        return self._pool(formed[start:stop])

    def predict(self, batch: Any) -> Any:
        return self.model.predict(batch, prediction_type="RawFormulaVal", thread_count=self.threads)
