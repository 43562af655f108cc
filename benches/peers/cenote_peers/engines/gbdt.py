"""XGBoost and LightGBM by their model files, and oneDAL, which takes its trees from XGBoost's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..forest import Forest, Split, Tree
from .base import CannotHold, Engine

LARGEST = float(np.finfo(np.float32).max)


def _xgboost_tree(index: int, tree: Tree, n_features: int) -> dict[str, Any]:
    """A tree of XGBoost's JSON model: `value < condition` goes left, a level in the set goes right.

    Below the sixth level XGBoost reads a right child as the node after its sibling, whatever `right_children` says.
    """
    tree = tree.siblings_adjacent()
    leaf = tree.kind == Split.LEAF
    sets = [node for node, codes in sorted(tree.levels.items()) if len(codes)]
    condition = tree.threshold.astype(np.float64)
    condition[tree.kind == Split.PRESENT] = LARGEST
    condition[tree.kind == Split.LEVELS] = LARGEST  # an empty set: every present value goes left
    split_type = np.zeros(len(tree), dtype=int)
    split_type[sets] = 1
    sizes = [len(tree.levels[node]) for node in sets]
    parents = np.full(len(tree), 2**31 - 1)
    for node in np.flatnonzero(~leaf):
        parents[tree.left[node]] = parents[tree.right[node]] = node
    return {
        "base_weights": [0.0] * len(tree),
        "categories": [int(code) for node in sets for code in tree.levels[node]],
        "categories_nodes": sets,
        "categories_segments": np.cumsum([0, *sizes])[:-1].tolist(),
        "categories_sizes": sizes,
        "default_left": tree.na_left.astype(int).tolist(),
        "id": index,
        "left_children": np.where(leaf, -1, tree.left).tolist(),
        "right_children": np.where(leaf, -1, tree.right).tolist(),
        "loss_changes": np.where(leaf, 0.0, 1.0).tolist(),
        "parents": parents.tolist(),
        "split_conditions": condition.tolist(),
        "split_indices": tree.feature.tolist(),
        "split_type": split_type.tolist(),
        "sum_hessian": [1.0] * len(tree),
        "tree_param": {
            "num_deleted": "0",
            "num_feature": str(n_features),
            "num_nodes": str(len(tree)),
            "size_leaf_vector": "1",
        },
    }


def xgboost_json(forest: Forest) -> str:
    """XGBoost's JSON model of the forest, with an identity link, so that a prediction is the sum."""
    flat = forest.flat()
    classes = forest.n_classes
    features = len(forest.names)
    base = "[" + ",".join([repr(float(forest.init))] * classes) + "]"
    objective: dict[str, Any] = {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}}
    if classes > 1:
        objective = {"name": "multi:softprob", "softmax_multiclass_param": {"num_class": str(classes)}}
    per_round = np.cumsum([0] + [sum(tree is not None for tree in group) for group in forest.trees])
    types = ["c" if name in forest.domains else "q" for name in forest.names] if forest.domains else []
    return json.dumps(
        {
            "learner": {
                "attributes": {},
                "feature_names": [],
                "feature_types": types,
                "gradient_booster": {
                    "model": {
                        "cats": {"enc": [], "feature_segments": [], "sorted_idx": []},
                        "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(len(flat))},
                        "iteration_indptr": per_round.tolist(),
                        "tree_info": [k for k, _ in flat],
                        "trees": [_xgboost_tree(i, tree, features) for i, (_, tree) in enumerate(flat)],
                    },
                    "name": "gbtree",
                },
                "learner_model_param": {
                    "base_score": base,
                    "boost_from_average": "1",
                    "num_class": str(classes if classes > 1 else 0),
                    "num_feature": str(features),
                    "num_target": "1",
                },
                "objective": objective,
            },
            "version": [3, 2, 0],
        }
    )


class XGBoost(Engine):
    """`Booster.inplace_predict(predict_type="margin")` on a float32 array: no `DMatrix` is made."""

    name = "xgboost"
    package = "xgboost"
    suffix = ".ubj"

    def build(self, forest: Forest, nan_rows: bool, path: Path) -> None:
        import xgboost

        booster = xgboost.Booster()
        booster.load_model(bytearray(xgboost_json(forest), "utf-8"))
        booster.save_model(path)

    def load(self, path: Path, forest: Forest) -> None:
        import xgboost

        self.classes = forest.n_classes
        self.model = xgboost.Booster(params={"nthread": self.threads}, model_file=str(path))

    def predict(self, batch: Any) -> Any:
        return self.model.inplace_predict(batch, predict_type="margin", validate_features=False)

    def margins(self, output: Any) -> np.ndarray:
        return np.asarray(output, dtype=np.float64).reshape(len(output), self.classes)


class OneDal(Engine):
    """daal4py's `gbt_regression_prediction(fptype="float")`, or the classifier's probabilities for many classes."""

    name = "onedal"
    note = "of many classes it gives probabilities: the link is in its time"
    suffix = ".json"
    package = "scikit-learn-intelex"

    def build(self, forest: Forest, nan_rows: bool, path: Path) -> None:
        if forest.domains:
            raise CannotHold("daal4py's conversion from XGBoost has no categorical splits")
        path.write_text(xgboost_json(forest))

    def load(self, path: Path, forest: Forest) -> None:
        import daal4py
        import xgboost
        from daal4py.mb.gbt_convertors import get_gbt_model_from_xgboost

        daal4py.daalinit(self.threads)
        self.classes = forest.n_classes
        booster = xgboost.Booster(model_file=str(path))
        self.model = get_gbt_model_from_xgboost(booster)
        self._regression = daal4py.gbt_regression_prediction
        self._classification = daal4py.gbt_classification_prediction
        self.gives = "sums" if self.classes == 1 else "predictions"

    def predict(self, batch: Any) -> Any:
        # An algorithm object keeps the result of one size of batch: each call makes one, as daal4py itself does.
        if self.classes == 1:
            return self._regression(fptype="float").compute(batch, self.model)
        algorithm = self._classification(
            nClasses=self.classes, fptype="float", resultsToEvaluate="computeClassProbabilities"
        )
        return algorithm.compute(batch, self.model)

    def margins(self, output: Any) -> np.ndarray:
        if self.classes == 1:
            return np.asarray(output.prediction, dtype=np.float64).reshape(-1, 1)
        return np.asarray(output.probabilities, dtype=np.float64)


def _lightgbm_tree(index: int, tree: Tree, missing: int, n_levels: list[int]) -> str:
    """A tree of LightGBM's text model: `value <= threshold` goes left, a level in the set goes left.

    The threshold is half way between the float32 before ours and ours, which decides every float32 as `value < ours`
    does however its decimal text is read. A missing level comes as one more code, the number of levels.
    """
    inner = np.flatnonzero(tree.kind != Split.LEAF)
    leaves = np.flatnonzero(tree.kind == Split.LEAF)
    number = np.zeros(len(tree), dtype=int)
    number[inner] = np.arange(len(inner))
    number[leaves] = ~np.arange(len(leaves))
    thresholds: list[str] = []
    decisions: list[int] = []
    bounds = [0]
    words: list[int] = []
    for node in inner:
        levels = n_levels[tree.feature[node]]
        kind = tree.kind[node]
        if kind == Split.NUMERIC and not levels:
            ours = tree.threshold[node]
            before = np.nextafter(ours, np.float32(-np.inf))
            thresholds.append(repr((float(before) + float(ours)) / 2))
            decisions.append(missing | (2 if tree.na_left[node] else 0))
            continue
        if not levels:  # present or not, of a number
            thresholds.append(repr(LARGEST))
            decisions.append(missing | (2 if tree.na_left[node] else 0))
            continue
        goes_left = np.ones(levels + 1, dtype=bool)
        if kind == Split.LEVELS:
            goes_left[tree.levels[node]] = False
        elif kind == Split.NUMERIC:
            goes_left[:levels] = np.arange(levels) < tree.threshold[node]
        goes_left[levels] = tree.na_left[node]
        padded = np.zeros((levels + 32) // 32 * 32, dtype=bool)
        padded[: levels + 1] = goes_left
        packed = np.packbits(padded, bitorder="little").view("<u4")
        thresholds.append(str(len(bounds) - 1))
        decisions.append(1)
        words += packed.tolist()
        bounds.append(len(words))
    values = [repr(float(v)) for v in tree.threshold[leaves]]
    lines = [f"Tree={index}", f"num_leaves={len(leaves)}", f"num_cat={len(bounds) - 1}"]
    if len(inner):
        zeros = " ".join(["0"] * len(inner))
        lines += [
            "split_feature=" + " ".join(map(str, tree.feature[inner])),
            "split_gain=" + zeros,
            "threshold=" + " ".join(thresholds),
            "decision_type=" + " ".join(map(str, decisions)),
            "left_child=" + " ".join(map(str, number[tree.left[inner]])),
            "right_child=" + " ".join(map(str, number[tree.right[inner]])),
        ]
    lines += ["leaf_value=" + " ".join(values)]
    if len(inner):
        lines += [
            "leaf_weight=" + " ".join(["0"] * len(leaves)),
            "leaf_count=" + " ".join(["0"] * len(leaves)),
            "internal_value=" + zeros,
            "internal_weight=" + zeros,
            "internal_count=" + zeros,
        ]
    if len(bounds) > 1:
        lines += ["cat_boundaries=" + " ".join(map(str, bounds)), "cat_threshold=" + " ".join(map(str, words))]
    return "\n".join([*lines, "is_linear=0", "shrinkage=1", "", ""])


def lightgbm_text(forest: Forest, nan_rows: bool) -> str:
    """LightGBM's text model of the forest; its sums lack `init`."""
    classes = forest.n_classes
    n_levels = [len(forest.domains.get(name, ())) for name in forest.names]
    missing = 8 if nan_rows else 0  # whether a node tests for NaN
    trees = [_lightgbm_tree(i, tree, missing, n_levels) for i, (_, tree) in enumerate(forest.flat())]
    if len(trees) != classes * len(forest.trees):
        raise CannotHold("an absent tree")
    infos = [":".join(map(str, range(n + 1))) if n else "[-1e+30:1e+30]" for n in n_levels]
    head = [
        "tree",
        "version=v4",
        f"num_class={classes}",
        f"num_tree_per_iteration={classes}",
        "label_index=0",
        f"max_feature_idx={len(forest.names) - 1}",
        "objective=regression" if classes == 1 else f"objective=multiclass num_class:{classes}",
        "feature_names=" + " ".join(f"c{i}" for i in range(len(forest.names))),
        "feature_infos=" + " ".join(infos),
        "tree_sizes=" + " ".join(str(len(text) + 1) for text in trees),
        "",
    ]
    return (
        "\n".join(head)
        + "\n"
        + "\n".join(trees)
        + "\nend of trees\n\nfeature_importances:\n\nparameters:\nend of parameters\n\npandas_categorical:null\n"
    )


class LightGBM(Engine):
    """`Booster.predict(raw_score=True)` on a float32 array; a missing level comes as a level of its own."""

    name = "lightgbm"
    package = "lightgbm"
    sums_in = "float64"

    def build(self, forest: Forest, nan_rows: bool, path: Path) -> None:
        path.write_text(lightgbm_text(forest, nan_rows))

    def load(self, path: Path, forest: Forest) -> None:
        import lightgbm

        self.classes, self.init = forest.n_classes, forest.init
        self.n_levels = [len(forest.domains.get(name, ())) for name in forest.names]
        self.model = lightgbm.Booster(model_file=str(path))

    def form(self, x: np.ndarray) -> np.ndarray:
        formed = np.array(x, order="C")
        for j, levels in enumerate(self.n_levels):
            if levels:
                formed[np.isnan(formed[:, j]), j] = levels
        return formed

    def predict(self, batch: Any) -> Any:
        return self.model.predict(
            batch, raw_score=True, num_threads=self.threads, predict_disable_shape_check=True, validate_features=False
        )

    def margins(self, output: Any) -> np.ndarray:
        return np.asarray(output, dtype=np.float64).reshape(len(output), self.classes) + self.init
