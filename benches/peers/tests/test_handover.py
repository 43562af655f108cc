"""What is timed is the MOJO's forest: conversions against the NumPy walk, the reader against a tree made by hand."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from cenote_peers import data, glm, mojo, train
from cenote_peers.engines import ENGINES, ON_ARRAYS, CannotHold
from cenote_peers.forest import Forest, Split, Tree

EXACT = [e.name for e in ON_ARRAYS if e.exact and not e.reads_mojo and e.name != "tl2cgen"]


def first_rounds(name: str, rounds: int) -> Forest:
    path = train.find(name)
    assert path is not None
    forest = mojo.read_forest(path)
    return Forest(forest.trees[:rounds], forest.init, forest.names, forest.domains, forest.category, forest.algo)


@pytest.fixture(scope="module")
def flights() -> np.ndarray:
    forest = first_rounds("gbm_500x6_flights", 1)
    return data.encode(data.split_flights()[1][:500], forest.names, forest.domains)


def rows_at_thresholds(forest: Forest) -> np.ndarray:
    """Rows that hold thresholds themselves and their float32 neighbours, where `<` and `<=` part."""
    x = data.gaussian_rows(300, 4)
    at = 0
    for _, tree in forest.flat():
        for node in np.flatnonzero(tree.kind == Split.NUMERIC)[:20]:
            value = tree.threshold[node]
            near = (value, np.nextafter(value, np.float32(np.inf)), np.nextafter(value, np.float32(-np.inf)))
            for number in near:
                x[at % len(x), tree.feature[node]] = number
                at += 1
    return x


def agree(name: str, forest: Forest, x: np.ndarray, folder: Path) -> None:
    engine = ENGINES[name](1)
    path = folder / f"{name}{engine.suffix}"
    try:
        engine.build(forest, bool(np.isnan(x).any()), path)
        engine.load(path, forest)
    except CannotHold as reason:
        pytest.skip(str(reason))
    engine.predict(engine.slice(engine.form(x), 0, 7))  # another size of batch before
    given = engine.margins(engine.predict(engine.slice(engine.form(x), 0, len(x))))
    wanted = forest.margins(x)
    if engine.gives == "predictions":
        wanted = forest.predictions(wanted)
    tolerance = 1e-9 if engine.sums_in == "float64" else forest.float32_tolerance()
    assert np.abs(given - wanted).max() <= tolerance


@pytest.mark.parametrize("name", EXACT)
def test_numeric_forest(name: str, tmp_path: Path) -> None:
    forest = first_rounds("gbm_500x6_numeric", 20)
    agree(name, forest, rows_at_thresholds(forest), tmp_path)


@pytest.mark.parametrize("name", EXACT)
def test_levels_and_missing(name: str, tmp_path: Path, flights: np.ndarray) -> None:
    x = flights.copy()
    x[np.random.default_rng(0).random(x.shape) < 0.2] = np.nan
    x[0] = np.nan
    agree(name, first_rounds("gbm_500x6_flights", 20), x, tmp_path)


@pytest.mark.parametrize("name", EXACT)
def test_ten_classes(name: str, tmp_path: Path) -> None:
    forest = first_rounds("gbm_multinomial_10", 3)
    agree(name, forest, rows_at_thresholds(forest), tmp_path)


@pytest.mark.parametrize("name", EXACT)
def test_deeper_than_six(name: str, tmp_path: Path) -> None:
    """XGBoost lays out the first six levels in another way than those below."""
    depth, features = 9, 28
    rng = np.random.default_rng(2)
    inner, size = 2**depth - 1, 2 ** (depth + 1) - 1
    index = np.arange(size)
    leaf = index >= inner
    tree = Tree(
        np.where(leaf, Split.LEAF, Split.NUMERIC).astype(np.int8),
        rng.integers(0, features, size).astype(np.int32),
        rng.standard_normal(size).astype(np.float32),
        np.where(leaf, 0, 2 * index + 1).astype(np.int32),
        np.where(leaf, 0, 2 * index + 2).astype(np.int32),
        np.zeros(size, dtype=bool),
    )
    forest = Forest([[tree]], 0.25, [f"x{i}" for i in range(features)], {}, "Regression", "gbm")
    agree(name, forest, rows_at_thresholds(forest), tmp_path)


def test_reader_on_a_tree_made_by_hand() -> None:
    """x1 >= 2.5 ? (level x0 in {33, 34} of a bitset from 32 on ? 3 : 2) : 1; missing goes left, then right."""
    bitset = struct.pack("<Hi", 32, 3) + bytes([0b110])
    inner = struct.pack("<BHB", 12 | 48 | 0xC0, 0, 3) + bitset + struct.pack("<ff", 2.0, 3.0)
    root = struct.pack("<BHBf", 48, 1, 2, 2.5) + struct.pack("<f", 1.0) + inner
    tree = mojo.read_tree(root, [40, 0])
    nan = np.nan
    x = np.array([[33, 2.4999], [33, 2.5], [34, 9], [32, 9], [31, 9], [39, 9], [nan, 9], [33, nan]])
    values = tree.threshold[tree.leaf_of(x)]
    assert values.tolist() == [1, 3, 3, 2, 3, 3, 3, 1]


def test_rows_are_the_same_each_time() -> None:
    assert np.array_equal(data.gaussian_rows(10, 99), data.gaussian_rows(10, 99))


def test_categorical_frames_encode_as_text_does() -> None:
    path = train.find("pandas_100k")
    assert path is not None
    forest = mojo.read_forest(path)
    frame = data.split_flights()[1][:500][forest.names].copy()
    text = data.encode(frame, forest.names, forest.domains)
    for name in forest.domains:
        frame[name] = frame[name].astype("category")
    assert np.array_equal(text, data.encode_categorical(frame, forest.names, forest.domains), equal_nan=True)


def test_glm_imputes_missing_values() -> None:
    path = train.find("glm_highcard")
    assert path is not None
    model = glm.read_glm(path)
    x = np.full((1, len(model.names)), np.nan, dtype=np.float32)
    imputed = np.concatenate([model.modes, model.means])[None, :]
    assert model.margins(x) == pytest.approx(model.margins(imputed))
