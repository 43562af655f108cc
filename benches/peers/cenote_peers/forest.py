"""A forest as plain arrays, an obvious NumPy walk over it, and measures of its shape.

The walk is the oracle that every peer's output is checked against before it is timed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np


class Split(IntEnum):
    """What a node asks of its feature's value; NaN goes by the node's own direction."""

    LEAF = 0
    NUMERIC = 1  # right iff value >= threshold
    LEVELS = 2  # right iff the level code is in the node's set
    PRESENT = 3  # every present value goes left


@dataclass
class Tree:
    """Nodes by index, the root first, a child after its parent."""

    kind: np.ndarray  # int8, Split
    feature: np.ndarray  # int32
    threshold: np.ndarray  # float32: the threshold of a NUMERIC node, the value of a leaf
    left: np.ndarray  # int32
    right: np.ndarray  # int32
    na_left: np.ndarray  # bool
    levels: dict[int, np.ndarray] = field(default_factory=dict)  # node -> sorted codes that go right

    def __len__(self) -> int:
        """Nodes, leaves among them."""
        return len(self.kind)

    def depth(self) -> int:
        """The longest path, in splits."""
        level = np.zeros(len(self), dtype=np.int32)
        for node in np.flatnonzero(self.kind != Split.LEAF):
            level[self.left[node]] = level[self.right[node]] = level[node] + 1
        return int(level.max())

    def siblings_adjacent(self) -> Tree:
        """The same tree with a right child just after its sibling, and otherwise depth first, which walks fastest."""
        order, waiting = [0], [0]
        while waiting:
            node = waiting.pop()
            if self.kind[node] != Split.LEAF:
                order += (self.left[node], self.right[node])
                waiting += (self.right[node], self.left[node])
        new = np.empty(len(self), dtype=np.int32)
        new[order] = np.arange(len(self))
        return Tree(
            self.kind[order],
            self.feature[order],
            self.threshold[order],
            new[self.left[order]],
            new[self.right[order]],
            self.na_left[order],
            {int(new[node]): codes for node, codes in self.levels.items()},
        )

    def leaf_of(self, x: np.ndarray) -> np.ndarray:
        """The index of the leaf that each row of `x` (float64) falls into."""
        at = np.zeros(len(x), dtype=np.int32)
        live = np.arange(len(x))
        member = None
        if self.levels:
            top = 1 + max(int(codes.max(initial=0)) for codes in self.levels.values())
            row_of = {node: i for i, node in enumerate(self.levels)}
            member = np.zeros((len(row_of), top + 1), dtype=bool)
            for node, codes in self.levels.items():
                member[row_of[node], codes] = True
            lookup = np.zeros(len(self), dtype=np.int32)
            lookup[list(row_of)] = list(row_of.values())
        while True:
            live = live[self.kind[at[live]] != Split.LEAF]
            if not len(live):
                return at
            node = at[live]
            value = x[live, self.feature[node]]
            missing = np.isnan(value)
            go_right = value >= self.threshold[node].astype(np.float64)
            kind = self.kind[node]
            go_right[kind == Split.PRESENT] = False
            if member is not None:
                is_set = (kind == Split.LEVELS) & ~missing
                code = np.minimum(value[is_set].astype(np.int64), member.shape[1] - 1)
                go_right[is_set] = member[lookup[node[is_set]], code]
            go_right[missing] = ~self.na_left[node[missing]]
            at[live] = np.where(go_right, self.right[node], self.left[node])


@dataclass
class Forest:
    """Trees in rounds: `trees[round][class]`, absent trees None. A class's margin is `init` plus its trees' sum."""

    trees: list[list[Tree | None]]
    init: float
    names: list[str]
    domains: dict[str, list[str]]
    category: str  # Regression, Binomial, Multinomial
    algo: str

    @property
    def n_classes(self) -> int:
        """Sums per row: 1 for regression and binomial."""
        return len(self.trees[0])

    def flat(self) -> list[tuple[int, Tree]]:
        """(class, tree) in order of rounds."""
        return [(k, tree) for group in self.trees for k, tree in enumerate(group) if tree is not None]

    @property
    def n_outputs(self) -> int:
        """Numbers in a prediction beside the label."""
        return {"Regression": 1, "Binomial": 2}.get(self.category, self.n_classes)

    def margins(self, x: np.ndarray) -> np.ndarray:
        """`[rows x classes]`: leaves summed in float64, trees ascending, then `init`."""
        wide = x.astype(np.float64)
        out = np.zeros((len(x), self.n_classes))
        for k, tree in self.flat():
            out[:, k] += tree.threshold[tree.leaf_of(wide)].astype(np.float64)
        return out + self.init

    def predictions(self, margins: np.ndarray) -> np.ndarray:
        """What H2O makes of margins: `[rows x 1]` for regression, else a probability a class."""
        if self.algo == "drf":
            share = margins[:, 0] / len(self.trees)
            if self.category == "Binomial":
                return np.column_stack([share, 1.0 - share])
            return share[:, None] if self.n_classes == 1 else margins / margins.sum(axis=1, keepdims=True)
        if self.category == "Binomial":
            one = 1.0 / (1.0 + np.exp(-margins[:, 0]))
            return np.column_stack([1.0 - one, one])
        if self.category == "Multinomial":
            power = np.exp(margins - margins.max(axis=1, keepdims=True))
            return power / power.sum(axis=1, keepdims=True)
        return margins

    def float32_tolerance(self) -> float:
        """How far a sum of these leaves may stray in float32, in any order: trees x 2^-24 x the largest sum."""
        largest = abs(self.init)
        for _, tree in self.flat():
            largest += float(np.abs(tree.threshold[tree.kind == Split.LEAF]).max())
        return len(self.trees) * 2.0**-24 * largest

    def uses_missing(self) -> bool:
        """Whether some node's own NaN direction can matter: any categorical or present-or-not split."""
        return any((tree.kind >= Split.LEVELS).any() for _, tree in self.flat())

    def shape(self, x: np.ndarray) -> dict[str, float]:
        """Trees, leaves, depth, distinct thresholds a column, and how even the splits are on rows `x`.

        `evenness` is the share of the smaller side at a visited node, averaged over visits: 0.5 is a coin.
        """
        wide = x.astype(np.float64)
        visits = smaller = 0
        leaves = depth = 0
        thresholds: dict[int, set[float]] = {}
        for _, tree in self.flat():
            leaves += int((tree.kind == Split.LEAF).sum())
            depth = max(depth, tree.depth())
            count = np.bincount(tree.leaf_of(wide), minlength=len(tree))
            for node in np.flatnonzero(tree.kind != Split.LEAF)[::-1]:
                a, b = count[tree.left[node]], count[tree.right[node]]
                count[node] = a + b
                visits += a + b
                smaller += min(a, b)
            for node in np.flatnonzero(tree.kind == Split.NUMERIC):
                thresholds.setdefault(int(tree.feature[node]), set()).add(float(tree.threshold[node]))
        return {
            "trees": len(self.flat()),
            "leaves_per_tree": round(leaves / len(self.flat()), 1),
            "depth": depth,
            "visits_per_row_tree": round(visits / len(x) / len(self.flat()), 2),
            "thresholds_per_column": round(sum(map(len, thresholds.values())) / max(1, len(thresholds)), 1),
            "evenness": round(smaller / max(1, visits), 3),
        }
