"""treelite's interpreter (GTIL), and TL2cgen, which turns the trees into C and compiles it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from ..forest import Forest, Split
from .base import CannotHold, Engine

LARGEST = float(np.finfo(np.float32).max)


def to_treelite(forest: Forest) -> Any:
    """The forest through treelite's builder; `value < threshold` goes left, a level in the list goes right."""
    import treelite
    from treelite.model_builder import Metadata, ModelBuilder, PostProcessorFunc, TreeAnnotation

    flat = forest.flat()
    classes = forest.n_classes
    builder = ModelBuilder(
        threshold_type="float32",
        leaf_output_type="float32",
        metadata=Metadata(
            num_feature=len(forest.names),
            task_type="kMultiClf" if classes > 1 else "kRegressor",
            average_tree_output=False,
            num_target=1,
            num_class=[classes],
            leaf_vector_shape=(1, 1),
        ),
        tree_annotation=TreeAnnotation(len(flat), [0] * len(flat), [k for k, _ in flat]),
        postprocessor=PostProcessorFunc("identity_multiclass" if classes > 1 else "identity"),
        base_scores=[forest.init] * classes,
    )
    for _, tree in flat:
        builder.start_tree()
        for node in range(len(tree)):
            builder.start_node(node)
            kind = tree.kind[node]
            left, right = int(tree.left[node]), int(tree.right[node])
            na_left = bool(tree.na_left[node])
            if kind == Split.LEAF:
                builder.leaf(float(tree.threshold[node]))
            elif kind == Split.LEVELS and len(tree.levels[node]):
                builder.categorical_test(
                    feature_id=int(tree.feature[node]),
                    default_left=na_left,
                    category_list=[int(code) for code in tree.levels[node]],
                    category_list_right_child=True,
                    left_child_key=left,
                    right_child_key=right,
                )
            else:
                builder.numerical_test(
                    feature_id=int(tree.feature[node]),
                    threshold=float(tree.threshold[node]) if kind == Split.NUMERIC else LARGEST,
                    default_left=na_left,
                    opname="<",
                    left_child_key=left,
                    right_child_key=right,
                )
            builder.end_node()
        builder.end_tree()
    model = builder.commit()
    assert isinstance(model, treelite.Model)
    return model


def _by_class(output: Any, classes: int) -> np.ndarray:
    return np.asarray(output, dtype=np.float64).reshape(len(output), classes)


class Gtil(Engine):
    """`treelite.gtil.predict(pred_margin=True)` on a float32 array."""

    name = "treelite_gtil"
    package = "treelite"

    def build(self, forest: Forest, nan_rows: bool, path: Path) -> None:
        to_treelite(forest).serialize(path)

    def load(self, path: Path, forest: Forest) -> None:
        import treelite

        self.classes = forest.n_classes
        self.model = treelite.Model.deserialize(path)
        self._predict = treelite.gtil.predict

    def predict(self, batch: Any) -> Any:
        return self._predict(self.model, batch, nthread=self.threads, pred_margin=True)

    def margins(self, output: Any) -> np.ndarray:
        return _by_class(output, self.classes)


class Tl2cgen(Engine):
    """A compiled library through `tl2cgen.Predictor`; the `DMatrix` is made before the clock starts."""

    name = "tl2cgen"
    package = "tl2cgen"
    suffix = ".so"
    max_nodes = 100_000

    def build(self, forest: Forest, nan_rows: bool, path: Path) -> None:
        import tl2cgen

        nodes = sum(len(tree) for _, tree in forest.flat())
        if nodes > self.max_nodes:
            raise CannotHold(f"{nodes} nodes: the C compiler would be at it for many minutes (limit {self.max_nodes})")
        if shutil.which("gcc") is None:
            raise CannotHold("no C compiler (gcc) on this machine")
        tl2cgen.export_lib(
            to_treelite(forest), toolchain="gcc", libpath=str(path), params={"parallel_comp": 16}, nthread=2
        )

    def load(self, path: Path, forest: Forest) -> None:
        import tl2cgen

        self.classes = forest.n_classes
        self.model = tl2cgen.Predictor(str(path), nthread=self.threads)
        self._matrix = tl2cgen.DMatrix

    def slice(self, formed: Any, start: int, stop: int) -> Any:
        return self._matrix(formed[start:stop], dtype="float32")

    def predict(self, batch: Any) -> Any:
        return self.model.predict(batch, pred_margin=True)

    def margins(self, output: Any) -> np.ndarray:
        return _by_class(output, self.classes)
