"""YDF (Yggdrasil): the trees are put into a model of its own, whose engine then picks its fastest layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..forest import Forest, Split, Tree
from .base import CannotHold, Engine


def _node(tree: Tree, at: int) -> Any:
    """The subtree under node `at`: YDF's positive child is ours on the right."""
    from ydf import tree as y

    if tree.kind[at] == Split.LEAF:
        value = float(tree.threshold[at])
        return y.Leaf(value=y.RegressionValue(num_examples=1.0, value=value))
    condition = y.NumericalHigherThanCondition(
        missing=not tree.na_left[at],
        score=1.0,
        attribute=int(tree.feature[at]) + 1,
        threshold=float(tree.threshold[at]),
    )
    return y.NonLeaf(
        condition=condition,
        pos_child=_node(tree, int(tree.right[at])),
        neg_child=_node(tree, int(tree.left[at])),
    )


class Ydf(Engine):
    """`model.predict` on a dictionary of float32 columns: it copies them into a data set of its own each call."""

    name = "ydf"
    package = "ydf"

    def build(self, forest: Forest, nan_rows: bool, path: Path) -> None:
        import ydf

        if forest.domains or any((tree.kind > Split.NUMERIC).any() for _, tree in forest.flat()):
            raise CannotHold(
                "its Python call reads categorical columns as text only, and its fast engines impute missing values"
                " instead of following each node's own direction"
            )
        # A model of the same columns is trained on noise for its frame; its trees are then taken out.
        x = np.random.default_rng(3).standard_normal((200, len(forest.names))).astype(np.float32)
        classes = forest.n_classes
        columns: dict[str, Any] = {f"c{i:04d}": x[:, i] for i in range(x.shape[1])}
        columns["label"] = np.arange(200) % classes if classes > 1 else x[:, 0]
        task = ydf.Task.CLASSIFICATION if classes > 1 else ydf.Task.REGRESSION
        learner = ydf.GradientBoostedTreesLearner(
            label="label", task=task, num_trees=1, max_depth=3, validation_ratio=0.0, min_examples=5
        )
        model = learner.train(columns, verbose=0)
        attribute = {column.name: column.column_idx for column in model.input_features()}
        if any(attribute[f"c{i:04d}"] != i + 1 for i in range(x.shape[1])):
            raise CannotHold("its data set orders the columns otherwise")
        while model.num_trees():
            model.remove_tree(0)
        for _, tree in forest.flat():
            model.add_tree(ydf.tree.Tree(root=_node(tree, 0)))
        model.set_initial_predictions([forest.init] * classes)
        if classes > 1:
            model.set_output_logits(True)
        model.save(str(path))

    def load(self, path: Path, forest: Forest) -> None:
        import ydf

        self.classes = forest.n_classes
        self.model = ydf.load_model(str(path))

    def form(self, x: np.ndarray) -> Any:
        return {f"c{i:04d}": np.ascontiguousarray(x[:, i]) for i in range(x.shape[1])}

    def slice(self, formed: Any, start: int, stop: int) -> Any:
        return {name: column[start:stop] for name, column in formed.items()}

    def predict(self, batch: Any) -> Any:
        return self.model.predict(batch, num_threads=self.threads)

    def margins(self, output: Any) -> np.ndarray:
        return np.asarray(output, dtype=np.float64).reshape(len(output), self.classes)


class YdfEngine(Ydf):
    """YDF's own benchmark of its engine alone, by its own clock, without the copy that its Python call makes."""

    name = "ydf_engine"
    note = "by YDF's own benchmark: its C++ engine alone, rows already in its data set"

    def build(self, forest: Forest, nan_rows: bool, path: Path) -> None:
        widest = max(int((tree.kind == Split.LEAF).sum()) for _, tree in forest.flat())
        if forest.n_classes > 1 or widest > 64:
            raise CannotHold(
                "its fast engine (QuickScorer) takes one class and 64 leaves a tree; `ydf` shows the other"
            )
        super().build(forest, nan_rows, path)

    def measure(self, batches: list[Any], seconds: float) -> tuple[float, int] | None:
        # It goes over all rows it is given several times whatever the duration, so that a few batches must do.
        size = len(next(iter(batches[0].values())))
        few = batches[: max(1, 2000 // size)]
        rows = {name: np.concatenate([batch[name] for batch in few]) for name in few[0]}
        result = self.model.benchmark(
            rows, benchmark_duration=seconds, warmup_duration=seconds / 4, batch_size=size, num_threads=self.threads
        )
        return result.duration_per_example, size * len(few)
