"""A small reader of tree MOJOs of version 1.20 and later: zip -> `Forest`. Only what the peers need.

The format is that of `hex.genmodel.algos.tree.SharedTreeMojoModel.scoreTree`: a node is its type byte, its column, the
direction of missing values, then a float threshold or a bitset, then the size of the left subtree. It is written
apart from cenote's own reader, so that a mistake in one shows as a difference in the outputs.
"""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .forest import Forest, Split, Tree

NA_VS_REST = 1
NA_GOES_LEFT = (2, 4)  # NALeft, Left
NO_COLUMN = 0xFFFF


@dataclass
class Header:
    """`model.ini`: its keys, the columns in order, and the levels of the categorical ones."""

    info: dict[str, str]
    columns: list[str]
    domains: dict[str, list[str]]

    @property
    def features(self) -> list[str]:
        """The columns that a row holds, in order."""
        return self.columns[: int(self.info["n_features"])]


def read_header(archive: zipfile.ZipFile) -> Header:
    """Reads `model.ini` and the domain files."""
    info: dict[str, str] = {}
    columns: list[str] = []
    domains: dict[str, list[str]] = {}
    section = ""
    for line in archive.read("model.ini").decode().splitlines():
        if line in ("[info]", "[columns]", "[domains]"):
            section = line
        elif section == "[info]" and " = " in line:
            key, value = line.split(" = ", 1)
            info[key] = value
        elif section == "[columns]" and line:
            columns.append(line)
        elif section == "[domains]" and line:
            index, rest = line.split(": ", 1)
            size, name = rest.split(" ", 1)
            levels = archive.read(f"domains/{name}").decode().split("\n")[: int(size)]
            domains[columns[int(index)]] = levels
    return Header(info, columns, domains)


class _Nodes:
    """A tree under construction."""

    def __init__(self) -> None:
        self.kind: list[int] = []
        self.feature: list[int] = []
        self.threshold: list[float] = []
        self.left: list[int] = []
        self.right: list[int] = []
        self.na_left: list[bool] = []
        self.levels: dict[int, np.ndarray] = {}

    def add(self, kind: Split, feature: int = 0, threshold: float = 0.0, na_left: bool = False) -> int:
        self.kind.append(kind)
        self.feature.append(feature)
        self.threshold.append(threshold)
        self.left.append(0)
        self.right.append(0)
        self.na_left.append(na_left)
        return len(self.kind) - 1

    def finish(self) -> Tree:
        return Tree(
            np.array(self.kind, np.int8),
            np.array(self.feature, np.int32),
            np.array(self.threshold, np.float32),
            np.array(self.left, np.int32),
            np.array(self.right, np.int32),
            np.array(self.na_left, bool),
            self.levels,
        )


def _levels_right(data: bytes, at: int, wide: bool, n_levels: int, na_left: bool) -> tuple[np.ndarray, int]:
    """The codes below `n_levels` that go right, a code outside the bitset going as a missing one; and where it ends."""
    if wide:
        offset, bits = struct.unpack_from("<Hi", data, at)
        at += 6
    else:
        offset, bits = 0, 32
    size = (bits + 7) // 8
    held = np.unpackbits(np.frombuffer(data, np.uint8, size, at), bitorder="little")[:bits].astype(bool)
    goes_right = np.full(n_levels, not na_left)
    end = min(n_levels, offset + bits)
    if end > offset:
        goes_right[offset:end] = held[: end - offset]
    return np.flatnonzero(goes_right), at + size


def read_tree(data: bytes, n_levels: list[int]) -> Tree:
    """One tree; `n_levels` is the size of each column's domain, 0 for a numeric column."""
    nodes = _Nodes()
    # (offset, is a leaf's value, parent, on the right); the left child is parsed at once, so that it follows its parent
    waiting: list[tuple[int, bool, int, bool]] = [(0, False, -1, False)]
    while waiting:
        at, is_value, parent, on_right = waiting.pop()
        if is_value:
            node = nodes.add(Split.LEAF, threshold=struct.unpack_from("<f", data, at)[0])
        else:
            kind, column = struct.unpack_from("<BH", data, at)
            at += 3
            if column == NO_COLUMN:
                node = nodes.add(Split.LEAF, threshold=struct.unpack_from("<f", data, at)[0])
            else:
                direction = data[at]
                at += 1
                na_left = direction in NA_GOES_LEFT
                equal = kind & 12
                if direction == NA_VS_REST:
                    node = nodes.add(Split.PRESENT, column, 0.0, na_left)
                elif equal == 0:
                    node = nodes.add(Split.NUMERIC, column, struct.unpack_from("<f", data, at)[0], na_left)
                    at += 4
                else:
                    node = nodes.add(Split.LEVELS, column, 0.0, na_left)
                    nodes.levels[node], at = _levels_right(data, at, equal == 12, n_levels[column], na_left)
                left_code = kind & 51
                if left_code <= 3:
                    size = int.from_bytes(data[at : at + left_code + 1], "little")
                    left_at, right_at = at + left_code + 1, at + left_code + 1 + size
                else:
                    left_at, right_at = at, at + 4
                waiting.append((right_at, bool(kind & 0x40), node, True))
                waiting.append((left_at, left_code > 3, node, False))
        if parent >= 0:
            (nodes.right if on_right else nodes.left)[parent] = node
    return nodes.finish()


def read_forest(path: Path) -> Forest:
    """The forest of a GBM or DRF MOJO.

    Raises `ValueError` for another algorithm, or a version whose bitsets are laid out otherwise.
    """
    with zipfile.ZipFile(path) as archive:
        header = read_header(archive)
        info = header.info
        if info["algo"] not in ("gbm", "drf") or float(info["mojo_version"]) < 1.2:
            raise ValueError(f"{path}: no gbm or drf of MOJO version 1.20 or later")
        n_levels = [len(header.domains.get(name, ())) for name in header.features]
        present = set(archive.namelist())
        trees: list[list[Tree | None]] = []
        for group in range(int(info["n_trees"])):
            row: list[Tree | None] = []
            for k in range(int(info["n_trees_per_class"])):
                name = f"trees/t{k:02d}_{group:03d}.bin"
                row.append(read_tree(archive.read(name), n_levels) if name in present else None)
            trees.append(row)
    domains = {name: header.domains[name] for name in header.features if name in header.domains}
    return Forest(trees, float(info.get("init_f", 0.0)), header.features, domains, info["category"], info["algo"])
