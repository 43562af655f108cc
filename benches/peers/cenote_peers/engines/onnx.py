"""ONNX Runtime on a tree ensemble: `TreeEnsembleRegressor` (ai.onnx.ml 3), or `TreeEnsemble` (5) for sets of levels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..forest import Forest, Split
from .base import Engine

LARGEST = np.finfo(np.float32).max


def _concatenated(forest: Forest) -> dict[str, np.ndarray]:
    """All trees' nodes in a row, with each node's tree and index in it."""
    trees = [tree for _, tree in forest.flat()]
    return {
        "tree": np.concatenate([np.full(len(tree), i) for i, tree in enumerate(trees)]),
        "node": np.concatenate([np.arange(len(tree)) for tree in trees]),
        "class": np.concatenate([np.full(len(tree), k) for k, tree in forest.flat()]),
        **{
            name: np.concatenate([getattr(tree, name) for tree in trees])
            for name in ("kind", "feature", "threshold", "left", "right", "na_left")
        },
    }


def _regressor(forest: Forest) -> Any:
    """`TreeEnsembleRegressor` of ai.onnx.ml 3, for forests without sets of levels."""
    from onnx import helper

    all_nodes = _concatenated(forest)
    leaf = all_nodes["kind"] == Split.LEAF
    threshold = np.where(all_nodes["kind"] == Split.PRESENT, LARGEST, all_nodes["threshold"])
    return helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=forest.n_classes,
        aggregate_function="SUM",
        post_transform="NONE",
        nodes_treeids=all_nodes["tree"].tolist(),
        nodes_nodeids=all_nodes["node"].tolist(),
        nodes_featureids=all_nodes["feature"].tolist(),
        nodes_values=np.where(leaf, 0, threshold).tolist(),
        nodes_hitrates=[1.0] * len(leaf),
        nodes_modes=np.where(leaf, "LEAF", "BRANCH_LT").tolist(),
        nodes_truenodeids=all_nodes["left"].tolist(),
        nodes_falsenodeids=all_nodes["right"].tolist(),
        nodes_missing_value_tracks_true=all_nodes["na_left"].astype(int).tolist(),
        target_treeids=all_nodes["tree"][leaf].tolist(),
        target_nodeids=all_nodes["node"][leaf].tolist(),
        target_ids=all_nodes["class"][leaf].tolist(),
        target_weights=all_nodes["threshold"][leaf].tolist(),
    )


def _ensemble(forest: Forest) -> Any:
    """`TreeEnsemble` of ai.onnx.ml 5, which has set membership: a level in the set takes the true branch, our right.

    A tree that is one leaf has no node of its own here: it gets one whose branches both end in that leaf.
    """
    from onnx import TensorProto, helper

    less, member = 1, 6
    ids: dict[str, list[int]] = {
        name: []
        for name in ("feature", "mode", "true", "false", "true_leaf", "false_leaf", "missing", "root", "target")
    }
    splits: list[float] = []
    weights: list[float] = []
    members: list[float] = []
    for k, tree in forest.flat():
        leaves = np.flatnonzero(tree.kind == Split.LEAF)
        inner = np.flatnonzero(tree.kind != Split.LEAF)
        index = np.empty(len(tree), dtype=int)
        index[leaves] = len(weights) + np.arange(len(leaves))
        index[inner] = len(splits) + np.arange(len(inner))
        weights += tree.threshold[leaves].tolist()
        ids["target"] += [k] * len(leaves)
        ids["root"].append(len(splits))
        for node in inner if len(inner) else [0]:
            left, right = (int(tree.left[node]), int(tree.right[node])) if len(inner) else (0, 0)
            levels = tree.levels.get(int(node), ())
            if len(levels):
                members += [*map(float, levels), float("nan")]
                splits.append(0.0)
                yes, no, missing = right, left, not tree.na_left[node]
            else:
                splits.append(float(tree.threshold[node] if tree.kind[node] == Split.NUMERIC else LARGEST))
                yes, no, missing = left, right, tree.na_left[node]
            ids["feature"].append(int(tree.feature[node]))
            ids["mode"].append(member if len(levels) else less)
            ids["missing"].append(int(missing))
            ids["true"].append(int(index[yes]))
            ids["false"].append(int(index[no]))
            ids["true_leaf"].append(int(tree.kind[yes] == Split.LEAF))
            ids["false_leaf"].append(int(tree.kind[no] == Split.LEAF))

    def floats(name: str, values: list[float]) -> Any:
        return helper.make_tensor(name, TensorProto.FLOAT, [len(values)], values)

    return helper.make_node(
        "TreeEnsemble",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=forest.n_classes,
        aggregate_function=1,  # sum
        post_transform=0,
        nodes_featureids=ids["feature"],
        nodes_splits=floats("splits", splits),
        nodes_modes=helper.make_tensor("modes", TensorProto.UINT8, [len(splits)], ids["mode"]),
        nodes_truenodeids=ids["true"],
        nodes_falsenodeids=ids["false"],
        nodes_trueleafs=ids["true_leaf"],
        nodes_falseleafs=ids["false_leaf"],
        nodes_missing_value_tracks_true=ids["missing"],
        tree_roots=ids["root"],
        leaf_targetids=ids["target"],
        leaf_weights=floats("weights", weights),
        membership_values=floats("members", members),
    )


class OnnxRuntime(Engine):
    """`InferenceSession.run` on a float32 array; the ensemble sums, with no link after it."""

    name = "onnxruntime"
    package = "onnxruntime"

    def build(self, forest: Forest, nan_rows: bool, path: Path) -> None:
        import onnx
        from onnx import TensorProto, helper

        with_sets = any(tree.levels for _, tree in forest.flat())
        node = _ensemble(forest) if with_sets else _regressor(forest)
        graph = helper.make_graph(
            [node],
            "forest",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, len(forest.names)])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, forest.n_classes])],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 5 if with_sets else 3)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(path))

    def load(self, path: Path, forest: Forest) -> None:
        import onnxruntime

        self.init = forest.init
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # not into the next one's turn
        self.model = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def predict(self, batch: Any) -> Any:
        return self.model.run(None, {"x": batch})[0]

    def margins(self, output: Any) -> np.ndarray:
        return np.asarray(output, dtype=np.float64) + self.init
