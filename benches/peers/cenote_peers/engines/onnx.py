"""ONNX Runtime on a tree ensemble: `TreeEnsembleRegressor` (ai.onnx.ml 3), or `TreeEnsemble` (5) for sets of levels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..forest import Forest, Split
from .base import CannotHold, Engine

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


class OnnxRuntime(Engine):
    """`InferenceSession.run` on a float32 array; the ensemble sums, with no link after it."""

    name = "onnxruntime"
    package = "onnxruntime"

    def build(self, forest: Forest, nan_rows: bool, path: Path) -> None:
        import onnx
        from onnx import TensorProto, helper

        if any((tree.kind == Split.LEVELS).any() for _, tree in forest.flat()):
            raise CannotHold(
                "TreeEnsemble of ai.onnx.ml 5 has set membership, but ONNX Runtime expands a set over 32 levels into"
                " chains of equality nodes; TreeEnsembleRegressor has no sets"
            )
        all_nodes = _concatenated(forest)
        leaf = all_nodes["kind"] == Split.LEAF
        threshold = np.where(all_nodes["kind"] == Split.PRESENT, LARGEST, all_nodes["threshold"])
        node = helper.make_node(
            "TreeEnsembleRegressor",
            ["x"],
            ["y"],
            domain="ai.onnx.ml",
            n_targets=forest.n_classes,
            aggregate_function="SUM",
            post_transform="NONE",
            base_values=[forest.init] * forest.n_classes,
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
        graph = helper.make_graph(
            [node],
            "forest",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, len(forest.names)])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, forest.n_classes])],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(path))

    def load(self, path: Path, forest: Forest) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        self.model = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def predict(self, batch: Any) -> Any:
        return self.model.run(None, {"x": batch})[0]
