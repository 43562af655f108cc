"""Every kind of table, against H2O's own answers: what goes in comes out as its own kind, with the same numbers."""

from __future__ import annotations

import array
import math
from typing import Any, Literal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from golden import Case, check

import cenote


class Capsule:
    """An Arrow table of which nothing is known but that it exports itself."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


def frame(case: Case, dtype: Any = object) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(cells, dtype=dtype) for name, cells in case.columns.items()})


def arrow(case: Case, kind: pa.DataType) -> pa.Table:
    return pa.table({name: pa.array(cells, kind) for name, cells in case.columns.items()})


def test_list_of_dicts(every_case: Case) -> None:
    found = every_case.model.predict(every_case.rows, **every_case.options)
    assert isinstance(found, list)
    names = list(found[0])
    check({name: [row[name] for row in found] for name in names}, every_case.expected)


def test_dict_of_lists(every_case: Case) -> None:
    found = every_case.model.predict(every_case.columns, **every_case.options)
    assert isinstance(found, dict)
    assert [name for name in found if name != "error"] == every_case.model.output_names
    check(found, every_case.expected)


def test_one_dict(every_case: Case) -> None:
    for row, answer in list(zip(every_case.rows, every_case.expected, strict=True))[:60]:
        given = {name: cell for name, cell in row.items() if cell is not None}
        if answer is None:
            with pytest.raises(cenote.RowError):
                every_case.model.predict(given)
        else:
            check({name: [cell] for name, cell in every_case.model.predict(given).items()}, [answer])


@pytest.mark.parametrize("dtype", ["object", "str", "category", "string[python]", "string[pyarrow]"])
def test_pandas_text(every_case: Case, dtype: str) -> None:
    table = frame(every_case, dtype)
    table.index = pd.Index([f"row {row}" for row in range(len(table))])
    found = every_case.model.predict(table, **every_case.options)
    assert isinstance(found, pd.DataFrame)
    assert found.index.equals(table.index)
    check({name: found[name].tolist() for name in found}, every_case.expected)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_pyarrow(every_case: Case, kind: pa.DataType) -> None:
    found = every_case.model.predict(arrow(every_case, kind), **every_case.options)
    assert isinstance(found, pa.Table)
    check(found.to_pydict(), every_case.expected)


def test_pyarrow_dictionary_in_chunks(every_case: Case) -> None:
    table = arrow(every_case, pa.string())
    chunks = [table.slice(at, 97) for at in range(0, len(table), 97)]
    encoded = pa.concat_tables(
        pa.table({name: chunk[name].combine_chunks().dictionary_encode() for name in chunk.column_names})
        for chunk in chunks)
    assert encoded.column(0).num_chunks > 1
    check(every_case.model.predict(encoded, **every_case.options).to_pydict(), every_case.expected)


def test_pyarrow_record_batch(every_case: Case) -> None:
    whole = arrow(every_case, pa.string()).combine_chunks().to_batches()[0]
    found = every_case.model.predict(whole.slice(3), **every_case.options)
    assert isinstance(found, pa.RecordBatch)
    check(found.to_pydict(), every_case.expected[3:])


def test_polars(every_case: Case) -> None:
    table = pl.DataFrame({name: pl.Series(cells, dtype=pl.String) for name, cells in every_case.columns.items()})
    found = every_case.model.predict(table, **every_case.options)
    assert isinstance(found, pl.DataFrame)
    check(found.to_dict(as_series=False), every_case.expected)


def test_polars_categorical_in_chunks(every_case: Case) -> None:
    parts = [
        pl.DataFrame({name: pl.Series(cells[at::2], dtype=pl.Categorical) for name, cells in every_case.columns.items()})
        for at in (0, 1)
    ]
    found = every_case.model.predict(pl.concat(parts, rechunk=False), **every_case.options)
    check(found.to_dict(as_series=False), every_case.expected[0::2] + every_case.expected[1::2])


def test_any_arrow_capsule(every_case: Case) -> None:
    found = every_case.model.predict(Capsule(arrow(every_case, pa.string())), **every_case.options)
    assert isinstance(found, cenote.ArrowTable)
    assert len(found) == found.num_rows == len(every_case.rows)
    check(pa.table(found).to_pydict(), every_case.expected)
    assert pl.DataFrame(found).columns == found.column_names == list(pa.record_batch(found).schema.names)


def test_numpy_text(every_case: Case) -> None:
    model = every_case.model
    cells = np.array([[row.get(name) for name in model.feature_names] for row in every_case.rows], dtype=object)
    if any(answer is None for answer in every_case.expected):
        with pytest.warns(RuntimeWarning, match="refused"):
            found = model.predict(cells)
    else:
        found = model.predict(cells)
    assert found.dtype == np.float64
    assert found.shape == (len(every_case.rows), len(model.output_names))
    for row, answer in enumerate(every_case.expected):
        if answer is None:
            assert np.isnan(found[row]).all()
            continue
        cells_of_row = list(found[row])
        if model.labels:
            cells_of_row[0] = model.labels[int(cells_of_row[0])]
        check({str(ix): [cell] for ix, cell in enumerate(cells_of_row)}, [answer])


# Numbers as numbers.


@pytest.fixture(scope="module")
def numbers(iris: Case) -> np.ndarray:
    values = [[float(row[name] or "nan") if _is_number(row[name]) else math.nan for name in iris.model.feature_names]
              for row in iris.rows]
    return np.array(values)


def _is_number(cell: str | None) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


@pytest.fixture(scope="module")
def answers(iris: Case, numbers: np.ndarray) -> np.ndarray:
    """What H2O says of `numbers`: the golden rows that are numbers throughout say the same as these."""
    found: np.ndarray = iris.model.predict(numbers)
    rows = [row for row, cells in enumerate(iris.rows) if all(_is_number(cell) for cell in cells.values())]
    assert len(rows) > 100
    for row in rows:
        answer = iris.expected[row]
        assert answer is not None
        check({str(ix): [cell] for ix, cell in enumerate(found[row][1:])}, [answer[1:]])
    return found


@pytest.mark.parametrize("make", [
    np.asfortranarray,
    lambda array: np.repeat(array, 2, axis=0)[::2],
    lambda array: array[::-1][::-1],
    lambda array: np.repeat(array, 3, axis=1)[:, ::3],
    lambda array: array.astype(">f8"),
    lambda array: np.frombuffer(b"x" + array.tobytes(), dtype=np.uint8)[1:].view(np.float64).reshape(array.shape),
    lambda array: array.astype(np.longdouble),
    lambda array: array.astype(object),
], ids=["fortran", "strided rows", "reversed twice", "strided columns", "big-endian", "unaligned", "long double", "object"])
def test_numpy_layouts(iris: Case, numbers: np.ndarray, answers: np.ndarray, make: Any) -> None:
    np.testing.assert_array_equal(iris.model.predict(make(numbers)), answers)


def test_numpy_reversed(iris: Case, numbers: np.ndarray, answers: np.ndarray) -> None:
    np.testing.assert_array_equal(iris.model.predict(numbers[::-1]), answers[::-1])


def test_numpy_float32_is_widened(iris: Case, numbers: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        narrow = numbers.astype(np.float32)
    np.testing.assert_array_equal(iris.model.predict(narrow), iris.model.predict(narrow.astype(np.float64)))


def test_numpy_takes_level_codes(binomial: Case) -> None:
    model = binomial.model
    rows = []
    for row in binomial.rows:
        codes = []
        for name in model.feature_names:
            levels, cell = model.domains[name], row[name]
            if levels is not None:
                codes.append(float(levels.index(cell)) if cell in levels else math.nan)
            else:
                codes.append(float(cell) if cell is not None and _is_number(cell) else math.nan)
        rows.append(codes)
    plain = [row for row, cells in enumerate(binomial.rows)
             if all(model.domains[name] is not None or cell is None or _is_number(cell) for name, cell in cells.items()
                    if name in model.domains)]
    found = model.predict(np.array(rows))
    for at in plain:
        answer = binomial.expected[at]
        assert answer is not None
        assert model.labels is not None
        check({"predict": [model.labels[int(found[at, 0])]], **{str(ix): [cell] for ix, cell in enumerate(found[at, 1:])}},
              [answer])


@pytest.mark.parametrize("dtype", ["float64", "Float64", "float64[pyarrow]", "object"])
def test_pandas_numbers(iris: Case, numbers: np.ndarray, answers: np.ndarray, dtype: str) -> None:
    table = pd.DataFrame(numbers, columns=iris.model.feature_names).astype(dtype)
    found = iris.model.predict(table)
    assert found["predict"].dtype == "category"
    np.testing.assert_array_equal(found.iloc[:, 1:].to_numpy(), answers[:, 1:])
    np.testing.assert_array_equal(found["predict"].cat.codes, answers[:, 0])


def test_pandas_slices_and_blocks(iris: Case, numbers: np.ndarray, answers: np.ndarray) -> None:
    table = pd.DataFrame(numbers, columns=iris.model.feature_names)
    table["unused"] = pd.Timestamp("2026-11-22")
    found = iris.model.predict(table.iloc[5:200:3])
    assert list(found.index) == list(range(5, 200, 3))
    np.testing.assert_array_equal(found.iloc[:, 1:].to_numpy(), answers[5:200:3, 1:])


def test_polars_and_arrow_numbers(iris: Case, numbers: np.ndarray, answers: np.ndarray) -> None:
    columns = {name: numbers[:, ix] for ix, name in enumerate(iris.model.feature_names)}
    for table in (pl.DataFrame(columns), pa.table(columns), pa.table(columns).slice(0)):
        found = iris.model.predict(table).to_pandas() if isinstance(table, pa.Table) else iris.model.predict(table)
        for ix, name in enumerate(iris.model.output_names[1:], 1):
            np.testing.assert_array_equal(np.asarray(found[name]), answers[:, ix])


def test_dict_of_arrays_gives_arrays(iris: Case, numbers: np.ndarray, answers: np.ndarray) -> None:
    found = iris.model.predict({name: numbers[:, ix] for ix, name in enumerate(iris.model.feature_names)})
    assert all(isinstance(column, np.ndarray) for column in found.values())
    np.testing.assert_array_equal(found[iris.model.output_names[1]], answers[:, 1])


def test_dict_of_any_sequences(iris: Case) -> None:
    names = iris.model.feature_names
    expected = iris.model.predict({name: [0.0, 1.0] for name in names})
    for column in ((0, 1), range(2), array.array("d", [0, 1]), pl.Series([0, 1]), pd.Series([0, 1]), pa.array([0, 1]),
                   pa.chunked_array([[0], [1]]), pd.Series([0, 1], dtype="int64[pyarrow]")):
        assert iris.model.predict({**dict.fromkeys(names, [0.0, 1.0]), names[0]: column}) == expected


INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool", "float16", "float32"]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_types_of_numbers(iris: Case, dtype: str) -> None:
    values = {name: np.array([0, 1, 1, 0, 1]).astype(dtype) for name in iris.model.feature_names}
    wide = np.array([[0, 1, 1, 0, 1]] * 4, dtype=np.float64).T
    answers = iris.model.predict(wide)
    tables: list[Any] = [values, pd.DataFrame(values), pa.table(values), pa.table(values).slice(1)]
    if dtype != "float16":
        tables.append(pl.DataFrame(values))
    for table in tables:
        found = iris.model.predict(table)
        skipped = 1 if table is tables[3] else 0
        for ix, name in enumerate(iris.model.output_names[1:], 1):
            np.testing.assert_array_equal(np.asarray(found[name]), answers[skipped:, ix])


@pytest.mark.parametrize("dtype", ["Int64", "UInt8", "Float32", "boolean"])
def test_pandas_masks(iris: Case, dtype: str) -> None:
    table = pd.DataFrame({name: pd.array([1, None, 0], dtype=dtype) for name in iris.model.feature_names})
    answers = iris.model.predict(np.array([[1.0, math.nan, 0.0]] * 4).T)
    np.testing.assert_array_equal(iris.model.predict(table).iloc[:, 1:].to_numpy(), answers[:, 1:])


def test_categories_of_whole_numbers(binomial: Case) -> None:
    """A category of 1 is the level "1", and a missing one is missing."""
    rows = binomial.rows[:50]
    model = binomial.model
    name = next(name for name in model.feature_names if model.domains[name])
    plain = pd.DataFrame({**{key: [row[key] for row in rows] for key in rows[0]}, name: ["7", None] * 25})
    coded = plain.assign(**{name: pd.Categorical([7, None] * 25)})
    pd.testing.assert_frame_equal(model.predict(coded), model.predict(plain))
    numbers = model.predict([{**row, name: 7 if ix % 2 == 0 else math.nan} for ix, row in enumerate(rows)])
    assert numbers == model.predict(plain).astype({"predict": object}).to_dict("records")


# Shapes.


def test_no_rows(every_case: Case) -> None:
    model = every_case.model
    names = list(every_case.columns)
    nothing: list[Any] = [
        {name: [] for name in names}, pd.DataFrame({name: pd.Series(dtype=object) for name in names}),
        pl.DataFrame({name: [] for name in names}), pa.table({name: pa.array([], pa.string()) for name in names}),
        np.empty((0, len(model.feature_names))), np.empty((0, len(model.feature_names)), order="F"),
    ]
    for table in nothing:
        found = model.predict(table, **every_case.options)
        assert type(found) is type(table)
        if isinstance(found, np.ndarray):
            assert found.shape == (0, len(model.output_names))
        else:
            columns = getattr(found, "column_names", None) or getattr(found, "columns", found)
            assert list(columns) == model.output_names
            assert all(len(found[name]) == 0 for name in model.output_names)
    assert model.predict([]) == []


def test_many_rows(binomial: Case) -> None:
    times = 100_000 // len(binomial.rows) + 1
    table = pd.concat([frame(binomial)] * times, ignore_index=True)
    found = binomial.model.predict(table)
    once = binomial.model.predict(frame(binomial))
    assert len(found) == times * len(once) >= 100_000
    for name in once:
        expected = np.tile(once[name].to_numpy(), times)
        np.testing.assert_array_equal(found[name].to_numpy(), expected)
    coded = table.astype("category")
    pd.testing.assert_frame_equal(binomial.model.predict(coded), found)


def test_all_missing(binomial: Case) -> None:
    names = binomial.model.feature_names
    answer = binomial.model.predict({})
    for nothing in (None, math.nan, pd.NA, pd.NaT):
        assert binomial.model.predict([dict.fromkeys(names, nothing)]) == [answer]
    found = binomial.model.predict(pa.table({name: pa.nulls(2) for name in names})).to_pylist()
    assert found == [answer, answer]
    assert binomial.model.predict(pd.DataFrame({name: [math.nan] for name in names})).iloc[0].tolist() == list(answer.values())


def test_text_beyond_ascii(binomial: Case) -> None:
    model = binomial.model
    row = dict(binomial.rows[0])
    name = next(name for name in model.feature_names if model.domains[name])
    unseen = model.predict({**row, name: "no such level"})
    for text in ("岛", "a\0b", "\U0001f600", "\ud800", ""):
        assert model.predict({**row, name: text}) == unseen
        assert model.predict([{**row, name: text}] * 3) == [unseen] * 3
    assert model.predict(pd.DataFrame([{**row, name: "\ud800"}] * 3, dtype=object)).iloc[2].tolist() == list(unseen.values())


def test_strings_that_die_between_rows(binomial: Case) -> None:
    """The cache of strings is keyed by address: a string made for one row must not stand for the next."""
    model = binomial.model
    name = next(name for name in model.feature_names if model.domains[name])
    levels = model.domains[name]
    assert levels is not None

    class Fresh(list):  # type: ignore[type-arg]
        pass

    row = binomial.rows[0]
    cells = Fresh("".join(reversed(levels[ix % len(levels)][::-1])) for ix in range(5000))
    table = {key: [cell] * 5000 for key, cell in row.items()} | {name: cells}
    found = model.predict(table)
    once = [model.predict({**row, name: level}) for level in levels]
    for ix in range(5000):
        assert {key: found[key][ix] for key in found} == once[ix % len(levels)]


# Trees.


def test_leaves(every_case: Case) -> None:
    kinds: list[tuple[Literal["Path", "Node_ID"], str]] = [("Path", "path"), ("Node_ID", "id")]
    for kind, prefix in kinds:
        expected = every_case.extra("expected_leaves.csv", prefix)
        if expected is None:
            continue
        if kind == "Node_ID" and every_case.model.mojo_version < "1.30":
            with pytest.raises(cenote.UnsupportedOperationError):
                every_case.model.predict_leaf_node_assignment(every_case.columns, type=kind)
            continue
        found = every_case.model.predict_leaf_node_assignment(every_case.columns, type=kind, **every_case.options)
        columns = list(found.values())
        for row, answer in enumerate(expected):
            cells = [column[row] for column in columns]
            if kind == "Path":
                # Of a leaf too deep to name H2O says null; the path to a root that is a leaf is empty.
                assert cells == [None if path == "null" else path for path in answer], f"row {row}"
            else:
                assert cells == [int(leaf) for leaf in answer], f"row {row}"


def test_leaves_as_tables(iris: Case, numbers: np.ndarray) -> None:
    paths = iris.model.predict_leaf_node_assignment(numbers)
    assert paths.dtype == object
    assert set("".join(paths[0])) <= {"L", "R"}
    ids = iris.model.predict_leaf_node_assignment(numbers, type="Node_ID")
    assert ids.dtype == np.int32
    table = pd.DataFrame(numbers, columns=iris.model.feature_names)
    found = iris.model.predict_leaf_node_assignment(table)
    assert found.columns[0] == "T1.C1"
    np.testing.assert_array_equal(found.astype(object).to_numpy(), paths)
    chunked = pl.concat([pl.from_pandas(table[:50]), pl.from_pandas(table[50:])], rechunk=False)
    np.testing.assert_array_equal(
        iris.model.predict_leaf_node_assignment(chunked).cast(pl.String).to_numpy(), paths)
    with pytest.raises(ValueError, match="Node_ID"):
        iris.model.predict_leaf_node_assignment(numbers, type="node")  # type: ignore[call-overload]


def test_stages(every_case: Case) -> None:
    expected = every_case.extra("expected_staged.csv", "s_")
    if expected is None:
        return
    found = every_case.model.staged_predict_proba(every_case.columns, **every_case.options)
    check({name: cells[: len(expected)] for name, cells in found.items()}, [[float(cell) for cell in line] for line in expected])
