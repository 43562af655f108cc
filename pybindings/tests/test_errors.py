"""What is refused, by which class, and what the message says."""

from __future__ import annotations

import datetime
import decimal
import io
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from golden import Case

import cenote


def test_classes_derive_from_what_users_catch() -> None:
    for error, base in [
        (cenote.ModelFormatError, ValueError), (cenote.LimitError, ValueError),
        (cenote.UnsupportedModelError, NotImplementedError), (cenote.UnsupportedOperationError, NotImplementedError),
        (cenote.InputError, ValueError), (cenote.MissingColumnsError, KeyError), (cenote.ColumnTypeError, TypeError),
        (cenote.CellError, ValueError), (cenote.RowError, ValueError),
    ]:
        assert issubclass(error, base)
        assert issubclass(error, cenote.CenoteError)
        assert str(error("it's text")) == "it's text"


def test_missing_columns(binomial: Case) -> None:
    model = binomial.model
    columns = dict(binomial.columns)
    gone = model.feature_names[0]
    cells = columns.pop(gone)
    columns["else"] = cells
    for table in (columns, pd.DataFrame(columns), pl.DataFrame(columns), pa.table(columns),
                  [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]):
        with pytest.raises(cenote.MissingColumnsError) as caught:
            model.predict(table)
        assert list(caught.value.missing) == [gone]
        assert "else" in caught.value.found
        assert gone in str(caught.value)
        again = pickle.loads(pickle.dumps(caught.value))
        assert (str(again), again.missing) == (str(caught.value), caught.value.missing)
        assert len(model.predict(table, missing_columns="na")) > 0


def test_one_row_may_lack_columns(binomial: Case) -> None:
    model = binomial.model
    assert model.predict({}) == model.predict(dict.fromkeys(model.feature_names))
    with pytest.raises(cenote.MissingColumnsError):
        model.predict({}, missing_columns="error")
    with pytest.raises(ValueError, match="missing_columns"):
        model.predict({}, missing_columns="ignore")  # type: ignore[call-overload]


def test_strict(iris: Case, binomial: Case) -> None:
    name = iris.model.feature_names[1]
    row: dict[str, Any] = dict.fromkeys(iris.model.feature_names, 1.0)
    rows = [row, {**row, name: "junk"}]
    assert iris.model.predict(rows)[1] == iris.model.predict({**row, name: None})
    for table in (rows, pd.DataFrame(rows)):
        with pytest.raises(cenote.CellError) as caught:
            iris.model.predict(table, strict=True)
        assert (caught.value.row, caught.value.column) == (1, name)
        assert "junk" not in str(caught.value)
    level = next(name for name in binomial.model.feature_names if binomial.model.domains[name])
    with pytest.raises(cenote.CellError, match=level):
        binomial.model.predict({level: "no such level"}, strict=True)


def test_refused_rows(refusing: Case) -> None:
    model = refusing.model
    row = next(ix for ix, answer in enumerate(refusing.expected) if answer is None)
    good = next(ix for ix, answer in enumerate(refusing.expected) if answer is not None)
    rows = [refusing.rows[good], refusing.rows[row]]
    with pytest.raises(cenote.RowError, match="java"):
        model.predict(refusing.rows[row])
    with pytest.raises(cenote.RowError) as caught:
        model.predict(rows, strict=True, missing_columns="na")
    assert caught.value.row == 1
    first, second = model.predict(rows)
    assert first["error"] is None
    assert second["error"].startswith("java.")
    assert second["predict"] is None
    assert "error" not in model.predict(rows[:1])[0]
    found = model.predict(pd.DataFrame(rows))
    assert math.isnan(found["predict"][1])
    assert found["error"].isna().tolist() == [True, False]
    assert model.predict(pl.DataFrame(rows))["predict"].null_count() == 1
    assert model.predict(pa.Table.from_pylist(rows))["predict"].null_count == 1
    columns = {name: [each[name] for each in rows] for name in rows[0]}
    assert model.predict(columns)["error"][0] is None
    arrays = model.predict({name: np.array(cells, dtype=object) for name, cells in columns.items()})
    assert math.isnan(arrays["predict"][1])
    assert arrays["error"][1] == second["error"]


@pytest.mark.parametrize("value", [b"bytes", 1j, [1], {"a": 1}, object(), datetime.timedelta(1)], ids=repr)
def test_cells_of_no_type(iris: Case, value: Any) -> None:
    name = iris.model.feature_names[0]
    row = dict.fromkeys(iris.model.feature_names, 1.0)
    with pytest.raises(cenote.ColumnTypeError, match=name) as caught:
        iris.model.predict([{**row, name: value}])
    assert caught.value.column == name


def test_columns_of_no_type(iris: Case) -> None:
    names = iris.model.feature_names
    bad: list[Any] = [
        pa.array([b"x"]), pa.array([[1.0]]), np.array([1j]), np.array([b"x"]), np.array([1], dtype="m8[s]"),
        pd.Series(pd.to_timedelta([1])), pd.Series(pd.period_range("2026", periods=1)),
        pd.Series(pd.IntervalIndex.from_tuples([(0, 1)])),
    ]
    for column in bad:
        columns: dict[str, Any] = {name: np.array([1.0]) for name in names[1:]}
        with pytest.raises(cenote.ColumnTypeError, match=names[0]):
            iris.model.predict({names[0]: column, **columns})
        # A column that the model does not read may be of any type.
        assert len(iris.model.predict({names[0]: np.array([1.0]), **columns, "else": column})) > 0
    with pytest.raises(cenote.ColumnTypeError):
        iris.model.predict(np.zeros((2, len(names)), dtype=complex))


def test_times_are_milliseconds(iris: Case) -> None:
    names = iris.model.feature_names
    moment = datetime.datetime(1970, 1, 1, 0, 0, 0, 5000, tzinfo=datetime.timezone.utc)
    answer = iris.model.predict(dict.fromkeys(names, 5.0))
    there = datetime.timezone(datetime.timedelta(hours=3))
    for time in (moment, moment.replace(tzinfo=None), moment.astimezone(there), decimal.Decimal(5)):
        assert iris.model.predict(dict.fromkeys(names, time)) == answer
    stamps = [pd.Timestamp(moment), pd.NaT]
    naive = pd.Series(stamps).dt.tz_localize(None)
    for series in (pd.Series(stamps), naive, naive.astype("datetime64[s]"), pd.Series(stamps).dt.tz_convert("Asia/Tokyo")):
        found = iris.model.predict(pd.DataFrame(dict.fromkeys(names, series)))
        whole = 5.0 if series.dt.unit != "s" else 0.0
        assert found.iloc[0].tolist() == list(iris.model.predict(dict.fromkeys(names, whole)).values())
        assert found.iloc[1].tolist() == list(iris.model.predict({}).values())
        arrow = pa.table({name: pa.array(series) for name in names})
        assert iris.model.predict(arrow).to_pylist()[0] == iris.model.predict(dict.fromkeys(names, whole))
    assert iris.model.predict(dict.fromkeys(names, datetime.date(1970, 1, 2))) == iris.model.predict(
        dict.fromkeys(names, 86_400_000))


def test_what_is_no_table(iris: Case) -> None:
    model = iris.model
    names = model.feature_names
    for data in (None, 3, "text", object(), {1, 2}, pl.LazyFrame({name: [1] for name in names}), [1], [[1, 2]]):
        with pytest.raises(TypeError):
            model.predict(data)
    with pytest.raises(TypeError, match="collect"):
        model.predict(pl.LazyFrame({"x": [1]}))
    with pytest.raises(TypeError, match=names[1]):
        model.predict({names[0]: [1.0], names[1]: 2.0})
    with pytest.raises(cenote.InputError, match="2 cells"):
        model.predict({names[0]: [1.0], names[1]: [1.0, 2.0]})
    with pytest.raises(cenote.InputError, match=names[0]):
        model.predict(np.zeros((3, 2)))
    with pytest.raises(cenote.InputError, match="2-D"):
        model.predict(np.zeros(4))
    twice = pd.DataFrame(np.zeros((2, 5)), columns=[*names, names[0]])
    with pytest.raises(cenote.InputError, match="twice"):
        model.predict(twice)


def test_what_is_no_model(tmp_path: Path, iris: Case) -> None:
    whole = iris.mojo.read_bytes()
    for content in (b"", b"not a zip", whole[: len(whole) // 2]):
        with pytest.raises(cenote.ModelFormatError):
            cenote.load(content)
    other = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as source, zipfile.ZipFile(other, "w") as target:
        for entry in source.namelist():
            text = source.read(entry)
            if entry == "model.ini":
                text = text.replace(b"algo = gbm", b"algo = psvm").replace(b"Gradient Boosting Machine", b"PSVM")
            target.writestr(entry, text)
    with pytest.raises(cenote.UnsupportedModelError, match="psvm"):
        cenote.load(other.getvalue())
    with pytest.raises(FileNotFoundError):
        cenote.load(tmp_path / "none.zip")
    with pytest.raises(cenote.ModelFormatError):
        cenote.load("/dev/null")
    with pytest.raises(TypeError, match="path"):
        cenote.load(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="binary"):
        cenote.load(io.StringIO("text"))  # type: ignore[arg-type]


def test_calls_that_do_not_fit(refusing: Case) -> None:
    with pytest.raises(cenote.UnsupportedOperationError):
        refusing.model.predict_leaf_node_assignment(refusing.rows[:2])
    with pytest.raises(NotImplementedError):
        refusing.model.staged_predict_proba(refusing.rows[:2])
    with pytest.raises(cenote.UnsupportedOperationError, match="contributions"):
        refusing.model.predict_contributions(refusing.rows[:2])
