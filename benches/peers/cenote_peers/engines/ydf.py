"""YDF (Yggdrasil): the trees are put into a model of its own, whose engine then picks its fastest layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..forest import Forest, Split, Tree
from .base import CannotHold, Engine

LARGEST = float(np.finfo(np.float32).max)


class _Columns:
    """YDF's names, types and dictionaries of the forest's columns: a level's text is its code."""

    def __init__(self, forest: Forest) -> None:
        self.n_levels = [len(forest.domains.get(name, ())) for name in forest.names]
        self.names = [f"c{i:04d}" for i in range(len(forest.names))]
        self.attribute: list[int] = []
        self.index_of: dict[int, np.ndarray] = {}

    def form(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The rows as YDF's Python call takes them: numbers as float32, levels as text, empty where missing."""
        formed = {}
        for j, (name, levels) in enumerate(zip(self.names, self.n_levels, strict=True)):
            column = np.ascontiguousarray(x[:, j])
            if levels:
                text = np.array([*(f"v{code}" for code in range(levels)), ""])
                column = text[np.where(np.isnan(column), levels, column).astype(int)]
            formed[name] = column
        return formed

    def bind(self, model: Any) -> None:
        """Learns where a trained model keeps each column, and each level in its dictionary."""
        places = {column.name: column.column_idx for column in model.input_features()}
        self.attribute = [places[name] for name in self.names]
        for j, levels in enumerate(self.n_levels):
            if levels:
                items = model.data_spec().columns[self.attribute[j]].categorical.items
                self.index_of[j] = np.array([items[f"v{code}"].index for code in range(levels)])

    def condition(self, tree: Tree, at: int) -> Any:
        """Node `at`'s question; YDF's positive child is ours on the right."""
        from ydf import tree as y

        feature, kind = int(tree.feature[at]), tree.kind[at]
        shared = {"missing": not tree.na_left[at], "score": 1.0, "attribute": self.attribute[feature]}
        if not self.n_levels[feature]:
            threshold = LARGEST if kind == Split.PRESENT else float(tree.threshold[at])
            return y.NumericalHigherThanCondition(**shared, threshold=threshold)
        codes = tree.levels.get(at, np.empty(0, dtype=int))
        if kind == Split.NUMERIC:  # a threshold among codes
            codes = np.flatnonzero(np.arange(self.n_levels[feature]) >= tree.threshold[at])
        return y.CategoricalIsInCondition(**shared, mask=sorted(self.index_of[feature][codes].tolist()))


def _node(columns: _Columns, tree: Tree, at: int) -> Any:
    """The subtree under node `at`."""
    from ydf import tree as y

    if tree.kind[at] == Split.LEAF:
        return y.Leaf(value=y.RegressionValue(num_examples=1.0, value=float(tree.threshold[at])))
    return y.NonLeaf(
        condition=columns.condition(tree, at),
        pos_child=_node(columns, tree, int(tree.right[at])),
        neg_child=_node(columns, tree, int(tree.left[at])),
    )


class Ydf(Engine):
    """`model.predict` on a dictionary of columns, float32 or text: it copies them into its own data set each call."""

    name = "ydf"
    package = "ydf"
    note = "its Python call copies the rows into a data set of its own, which is in its time"

    def build(self, forest: Forest, nan_rows: bool, path: Path) -> None:
        import ydf

        # A model of the same columns is trained on noise for its frame; its trees are then taken out.
        columns, classes = _Columns(forest), forest.n_classes
        rng = np.random.default_rng(3)
        count = max(200, 2 * max(columns.n_levels))
        x = rng.standard_normal((count, len(columns.names))).astype(np.float32)
        for j, levels in enumerate(columns.n_levels):
            if levels:
                x[:, j] = np.arange(count) % levels
        noise: dict[str, Any] = columns.form(x)
        noise["label"] = np.arange(count) % classes if classes > 1 else rng.standard_normal(count).astype(np.float32)
        features = [
            ydf.Feature(name, ydf.Semantic.CATEGORICAL, max_vocab_count=-1, min_vocab_frequency=1)
            if levels
            else ydf.Feature(name, ydf.Semantic.NUMERICAL)
            for name, levels in zip(columns.names, columns.n_levels, strict=True)
        ]
        learner = ydf.GradientBoostedTreesLearner(
            label="label",
            features=features,
            task=ydf.Task.CLASSIFICATION if classes > 1 else ydf.Task.REGRESSION,
            num_trees=1,
            max_depth=3,
            validation_ratio=0.0,
            min_examples=5,
        )
        model = learner.train(noise, verbose=0)
        columns.bind(model)
        while model.num_trees():
            model.remove_tree(0)
        for _, tree in forest.flat():
            model.add_tree(ydf.tree.Tree(root=_node(columns, tree, 0)))
        model.set_initial_predictions([forest.init] * classes)
        if classes > 1:
            model.set_output_logits(True)
        model.save(str(path))

    def load(self, path: Path, forest: Forest) -> None:
        import ydf

        self.classes = forest.n_classes
        self.columns = _Columns(forest)
        self.model = ydf.load_model(str(path))
        if not self.model.list_compatible_engines():
            raise CannotHold("none of its engines takes this forest (`list_compatible_engines()` is empty)")

    def form(self, x: np.ndarray) -> Any:
        return self.columns.form(x)

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

    def load(self, path: Path, forest: Forest) -> None:
        super().load(path, forest)
        engines = self.model.list_compatible_engines()
        if not any("QuickScorer" in engine for engine in engines):
            raise CannotHold(f"only {', '.join(engines)} takes this forest: `ydf` shows it")

    def measure(self, batches: list[Any], seconds: float) -> tuple[float, int] | None:
        # It goes over all rows it is given several times whatever the duration, so that a few batches must do.
        size = len(next(iter(batches[0].values())))
        few = batches[: max(1, 2000 // size)]
        rows = {name: np.concatenate([batch[name] for batch in few]) for name in few[0]}
        result = self.model.benchmark(
            rows, benchmark_duration=seconds, warmup_duration=seconds / 4, batch_size=size, num_threads=self.threads
        )
        return result.duration_per_example, size * len(few)
