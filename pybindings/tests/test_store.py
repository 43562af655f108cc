"""The feature store from Python, on a private PostgreSQL: views, writes, reads, and keys to scores by H2O's own values."""

from __future__ import annotations

import asyncio
import concurrent.futures
import csv
import multiprocessing
import pickle
import time
import uuid
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import psycopg
import pyarrow as pa
import pytest
from golden import same
from server import postgres

import cenote

DEMO = Path(__file__).resolve().parents[2] / "fixtures" / "demo"
NOW = datetime.now(timezone.utc).replace(microsecond=123456)


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with postgres() as dsn:
        yield dsn


@pytest.fixture(scope="module")
def store(dsn: str) -> Iterator[cenote.FeatureStore]:
    with cenote.FeatureStore.connect(dsn, read_timeout=20.0, write_timeout=20) as store:
        yield store


def make(store: cenote.FeatureStore, name: str, **more: Any) -> cenote.View:
    definition = {
        "name": name,
        "keys": [{"name": "customer", "type": "i64"}],
        "features": [
            {"name": "age", "type": "f64"}, {"name": "visits", "type": "i32"}, {"name": "segment", "type": "text"},
            {"name": "active", "type": "bool"}, {"name": "since", "type": "timestamp"},
        ],
        **more,
    }
    view = cenote.View(definition)
    store.apply(view)
    return view


def rows(*keys: int, at: datetime = NOW, age: float | None = 41.5) -> list[dict[str, Any]]:
    return [{"customer": key, "event_ts": at, "age": age, "visits": 3, "segment": "é", "active": True, "since": NOW}
            for key in keys]


VALUES = {"age": 41.5, "visits": 3, "segment": "é", "active": True, "since": NOW}


def test_view() -> None:
    definition = {"name": "v", "keys": [{"name": "k", "type": "i64"}], "features": [{"name": "f", "type": "f64"}]}
    view = cenote.View(definition)
    assert (view.name, view.version, view.keys, view.features) == ("v", 1, ["k"], ["f"])
    assert cenote.View(view.to_json()) == cenote.View(view.to_dict()) == view == pickle.loads(pickle.dumps(view))
    assert hash(cenote.View(view.to_json())) == hash(view)
    assert len(view.fingerprint) == 64
    assert "'v'" in repr(view) or '"v"' in repr(view)
    for bad in ({}, {**definition, "keys": []}, {**definition, "version": 0}, "not json", {**definition, "more": 1}):
        with pytest.raises(cenote.InputError):
            cenote.View(bad)


def test_apply_and_verify(store: cenote.FeatureStore) -> None:
    view = cenote.View({"name": "made", "keys": [{"name": "k", "type": "text"}], "features": [{"name": "f", "type": "f64"}]})
    assert any("CREATE TABLE" in statement for statement in store.plan_view(view))
    with pytest.raises(cenote.SchemaDriftError):
        store.verify(view)
    store.apply(view)
    store.apply(view)
    store.verify(view)
    assert store.plan_view(view) == []
    changed = cenote.View({**view.to_dict(), "features": [{"name": "f", "type": "text"}]})
    with pytest.raises(cenote.SchemaDriftError) as caught:
        store.verify(changed)
    assert len(caught.value.differences) == 1


def tables() -> list[Any]:
    frame = pd.DataFrame(rows(1, 2))
    return [
        rows(1, 2), {name: list(frame[name]) for name in frame}, frame, frame.convert_dtypes(), frame.astype({"segment": "category"}),
        pl.DataFrame(rows(1, 2)), pa.Table.from_pylist(rows(1, 2)), pa.Table.from_pylist(rows(1, 2)).to_batches()[0],
    ]


@pytest.mark.parametrize("index", range(8))
def test_every_table_writes_the_same(store: cenote.FeatureStore, index: int) -> None:
    view = make(store, f"tables_{index}")
    found = store.upsert(view, tables()[index])
    assert (found.inserted, found.updated, found.stale) == (2, 0, 0)
    got = store.get(view, 2)
    assert (got.status, got.event_ts, got.age, got.values) == ("fresh", NOW, None, VALUES)
    assert got["segment"] == "é"
    again = store.upsert(view, tables()[(index + 1) % 8])
    assert again.stale == 2
    assert again == store.upsert(view, rows(1, 2))


def test_newest_wins(store: cenote.FeatureStore) -> None:
    view = make(store, "newest", ttl_seconds=3600)
    old, older = NOW - timedelta(hours=2), NOW - timedelta(hours=3)
    store.upsert(view, rows(1, at=old, age=1.0))
    assert store.upsert(view, rows(1, at=older, age=2.0)).stale == 1
    got = store.get(view, 1)
    assert (got.status, got.event_ts, got["age"]) == ("stale", old, 1.0)
    assert got.age is not None
    assert timedelta(hours=2) <= got.age < timedelta(hours=3)
    assert store.upsert(view, rows(1, age=3.0)).updated == 1
    assert store.get(view, 1).status == "fresh"
    assert store.upsert(view, rows(1, age=4.0), written_at=NOW - timedelta(days=1)).stale == 1
    missing = store.get(view, 99)
    assert (missing.status, missing.event_ts, missing.values) == ("missing", None, dict.fromkeys(view.features))


def test_missing_cells(store: cenote.FeatureStore) -> None:
    view = make(store, "missing_cells")
    nothing = dict.fromkeys(view.features)
    frame = pd.DataFrame([{"customer": 1, "event_ts": NOW, **nothing, "age": np.nan}, rows(2)[0]])
    store.upsert(view, frame)
    assert store.get(view, 1).values == nothing
    assert store.get(view, 2).values == VALUES


def test_every_type(store: cenote.FeatureStore) -> None:
    values: dict[str, Any] = {
        "bool": True, "i16": 1, "i32": 2, "i64": 1 << 40, "f32": 0.5, "f64": 0.1, "text": "a", "timestamp": NOW,
        "date": date(2026, 11, 22), "numeric": Decimal("12345678901234567890.12"), "uuid": uuid.UUID(int=7),
        "json": {"a": [1, None, "é"]},
    }
    view = cenote.View({"name": "types", "keys": [{"name": "k", "type": "uuid"}],
                        "features": [{"name": f"{name}_", "type": name} for name in values]})
    store.apply(view)
    features = {f"{name}_": value for name, value in values.items()}
    key = uuid.UUID(int=1)
    store.upsert(view, [{"k": key, "event_ts": NOW, **features}, {"k": str(uuid.UUID(int=2)), "event_ts": NOW,
                                                                 **dict.fromkeys(features)}])
    assert store.get(view, key).values == features
    assert store.get_many(view, [key, uuid.UUID(int=2)]).to_dict() == {
        name: [value, None] for name, value in features.items()}
    table = pa.table(store.get_many(view, [key]))
    assert table["date_"].to_pylist() == [values["date"]]
    assert table["numeric_"].to_pylist() == [str(values["numeric"])]
    assert table["uuid_"].to_pylist() == [str(values["uuid"])]
    plain = {**features, "uuid_": str(features["uuid_"]), "json_": "[]"}
    other = pa.Table.from_pylist([{"k": str(uuid.UUID(int=3)), "event_ts": NOW, **plain}])
    store.upsert(view, other)
    assert store.get(view, uuid.UUID(int=3)).values == {**features, "json_": []}


def test_lists(store: cenote.FeatureStore) -> None:
    view = cenote.View({"name": "lists", "keys": [{"name": "k", "type": "i64"}],
                        "features": [{"name": "x", "type": "f32[]"}, {"name": "n", "type": "i64[]"},
                                     {"name": "t", "type": "text[]"}]})
    store.apply(view)
    x = [1.5, float("inf"), float("-inf"), 0.1]
    lists = {"x": x, "n": [1, 1 << 40, None], "t": ["a", "", 'q"', None]}
    arrays = {"x": np.array([0.5, np.nan], dtype="float32"), "n": np.arange(3), "t": ("a", np.str_("b"))}
    nothing = dict.fromkeys(lists)
    written = [{"k": k, "event_ts": NOW, **row} for k, row in enumerate([lists, arrays, nothing])]
    expected = {**lists, "x": np.array(x, dtype="float32").tolist()}
    for form in (written, pd.DataFrame(written), {name: [row[name] for row in written] for name in written[0]}):
        store.upsert(view, form)
        got = [store.get(view, k).values for k in range(3)]
        np.testing.assert_array_equal(np.array(got[0].pop("x"), dtype=float), np.array(expected["x"], dtype=float))
        assert got[0] == {"n": lists["n"], "t": lists["t"]}
        assert (got[1]["n"], got[1]["t"], got[1]["x"][0]) == ([0, 1, 2], ["a", "b"], 0.5)
        assert np.isnan(got[1]["x"][1])
        assert got[2] == nothing
        store.erase(view, range(3))
    store.upsert(view, written)
    # What was read can be written again as it came: nothing changes.
    again = pa.table(store.get_many(view, range(3))).drop_columns(["status"]).append_column("k", pa.array(range(3)))
    for table in (again, pl.DataFrame(again), again.to_pandas()):
        assert store.upsert(view, table).stale == 3
    with pytest.raises(cenote.CenoteError, match="x.*no JSON"):
        store.upsert(view, [{"k": 1, "event_ts": NOW, **nothing, "x": [object()]}])


def test_many_keys(store: cenote.FeatureStore) -> None:
    view = make(store, "many")
    store.upsert(view, rows(*range(1000)))
    keys = [5, 2000, 3, 5, -1]
    found = store.get_many(view, keys)
    assert len(found) == 5
    assert found.status == ["fresh", "missing", "fresh", "fresh", "missing"]
    assert found.event_ts == [NOW, None, NOW, NOW, None]
    assert found.to_dict()["age"] == [41.5, None, 41.5, 41.5, None]
    table = pa.table(found)
    assert table.column_names == ["status", "event_ts", *view.features]
    assert table["since"].to_pylist() == [NOW, None, NOW, NOW, None]
    assert pl.DataFrame(found)["segment"].to_list() == ["é", None, "é", "é", None]
    some = store.get_many(view, np.array([1, 2]), features=["visits"])
    assert some.to_dict() == {"visits": [3, 3]}
    assert len(store.get_many(view, [])) == 0
    with pytest.raises(cenote.CenoteError, match="none"):
        store.get(view, 1, features=["none"])


def test_composite_keys(store: cenote.FeatureStore) -> None:
    view = cenote.View({"name": "composite", "keys": [{"name": "a", "type": "i64"}, {"name": "b", "type": "text"}],
                        "features": [{"name": "f", "type": "f32"}]})
    store.apply(view)
    store.upsert(view, [{"a": 1, "b": "23", "event_ts": NOW, "f": 1.0}, {"a": 12, "b": "3", "event_ts": NOW, "f": 2.0}])
    assert store.get(view, (1, "23"))["f"] == 1.0
    assert store.get(view, {"b": "3", "a": 12})["f"] == 2.0
    assert store.get_many(view, [(12, "3"), {"a": 1, "b": "23"}]).to_dict() == {"f": [2.0, 1.0]}
    for key in (1, (1,), (1, "2", 3), {"a": 1}, ("1", 2), (1, None)):
        with pytest.raises(cenote.InputError):
            store.get(view, key)


def test_what_cannot_be_written(store: cenote.FeatureStore) -> None:
    view = make(store, "refused")
    row = rows(1)[0]
    with pytest.raises(cenote.CellError) as caught:
        store.upsert(view, [row, {**row, "visits": "three"}])
    assert (caught.value.row, caught.value.column) == (1, "visits")
    assert "three" not in str(caught.value)
    with pytest.raises(cenote.InputError, match="visits"):
        store.upsert(view, [{name: cell for name, cell in row.items() if name != "visits"}])
    with pytest.raises(cenote.InputError, match="else"):
        store.upsert(view, [{**row, "else": 1}])
    with pytest.raises(cenote.InputError):
        store.upsert(view, [{**row, "customer": None}])
    assert store.get(view, 1).status == "missing"


def test_connection_errors(dsn: str) -> None:
    with pytest.raises(cenote.StoreConnectionError) as caught:
        cenote.FeatureStore.connect("host=127.0.0.1 port=1 user=x password=secret dbname=y")
    assert isinstance(caught.value, ConnectionError)
    assert "secret" not in str(caught.value)
    with pytest.raises(cenote.InputError):
        cenote.FeatureStore.connect("no=such=setting")
    with pytest.raises(ValueError, match="read_timeout"):
        cenote.FeatureStore.connect(dsn, read_timeout=-1.0)
    store = cenote.FeatureStore.connect(dsn)
    view = make(store, "closed")
    store.close()
    with pytest.raises(cenote.StoreError, match="closed"):
        store.get(view, 1)
    assert cenote.FeatureStore.shared(dsn).schema == "cenote"


# Keys to scores.


def flights() -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    with (DEMO / "flights.csv").open(newline="") as file:
        inputs = list(csv.DictReader(file))
    with (DEMO / "expected.csv").open(newline="") as file:
        expected = list(csv.DictReader(file))
    numbers = {"hour", "distance", "temp", "wind_speed", "wind_gust", "precip", "visib", "plane_year", "seats"}
    typed = [{name: (int(cell) if name == "flight_id" else None if cell == "" else float(cell) if name in numbers else cell)
              for name, cell in row.items()} for row in inputs]
    return typed, expected


@pytest.fixture(scope="module")
def model() -> cenote.Model:
    return cenote.load(DEMO / "model.zip")


@pytest.fixture(scope="module")
def view(store: cenote.FeatureStore, model: cenote.Model) -> cenote.View:
    view = cenote.View({
        "name": "flights", "keys": [{"name": "flight_id", "type": "i64"}], "ttl_seconds": 3600,
        "features": [{"name": name, "type": "f64" if kind == "numeric" else "text"}
                     for name, kind in model.feature_types.items()],
    })
    store.apply(view)
    typed, _ = flights()
    store.upsert(view, [{**row, "event_ts": NOW} for row in typed])
    return view


def is_as_expected(found: dict[str, Any], expected: dict[str, str]) -> bool:
    label, *numbers = list(expected.values())[1:]
    cells = list(found.values())
    return bool(cells[0] == label) and all(same(cell, float(text)) for cell, text in zip(cells[1:], numbers, strict=True))


def test_scores_of_keys(store: cenote.FeatureStore, model: cenote.Model, view: cenote.View) -> None:
    _, expected = flights()
    plan = store.plan(model, view)
    assert plan.model is model
    assert plan.view is view
    keys = [int(row["flight_id"]) for row in expected]
    for key, answer in zip(keys, expected, strict=True):
        score = plan.score(key)
        assert (score.status, score.event_ts) == ("fresh", NOW)
        assert is_as_expected(score.prediction, answer)
    scores = plan.score_many(np.array(keys))
    assert scores.status == ["fresh"] * len(keys)
    columns = scores.to_dict()
    for row, answer in enumerate(expected):
        assert is_as_expected({name: column[row] for name, column in columns.items()}, answer)
    assert scores.to_dicts()[0] == plan.score(keys[0]).prediction
    assert pa.table(scores).column_names == ["status", "event_ts", *model.output_names]
    unknown = plan.score(-1)
    assert (unknown.status, unknown.prediction) == ("missing", model.predict({}))
    with pytest.raises(cenote.StoreError, match="missing"):
        store.plan(model, view, on_missing="error").score(-1)


def test_request_inputs(store: cenote.FeatureStore, model: cenote.Model, view: cenote.View) -> None:
    typed, expected = flights()
    plan = store.plan(model, view, request=["hour"])
    keys = [row["flight_id"] for row in typed]
    assert is_as_expected(plan.score(keys[0], {"hour": typed[0]["hour"]}).prediction, expected[0])
    request = {"hour": [row["hour"] for row in typed]}
    for given in (request, [{"hour": hour} for hour in request["hour"]], pd.DataFrame(request)):
        columns = plan.score_many(keys, given).to_dict()
        assert is_as_expected({name: column[-1] for name, column in columns.items()}, expected[-1])
    with pytest.raises(cenote.CenoteError, match="hour"):
        plan.score(keys[0])
    absent = store.plan(model, view, absent=["hour"]).score(keys[0]).prediction
    row = {name: cell for name, cell in typed[0].items() if name not in ("hour", "flight_id")}
    assert absent == model.predict(row)


def test_what_does_not_bind(store: cenote.FeatureStore, model: cenote.Model) -> None:
    view = make(store, "unbound")
    with pytest.raises(cenote.SchemaDriftError) as caught:
        store.plan(model, view)
    assert len(caught.value.differences) == len(model.feature_names)
    with pytest.raises(ValueError, match="on_stale"):
        store.plan(model, view, on_stale="ignore")  # type: ignore[arg-type]


def test_registry(store: cenote.FeatureStore, model: cenote.Model) -> None:
    store.apply_registry()
    first = store.register_model("late", model)
    assert (first.name, first.version, first.algo, first.aliases) == ("late", 1, "gbm", [])
    assert first.inputs == model.feature_names
    assert first.bytes == len(model.to_bytes())
    assert store.register_model("late", model).version == 1
    store.promote_model("late", "production", 1)
    assert [(found.version, found.aliases) for found in store.list_models("late")] == [(1, ["production"])]
    assert len(store.list_models()) == 1
    for reference in ("late", "late:1", "late@production", f"late#{first.sha256}"):
        loaded = store.load_model(reference)
        assert loaded.to_bytes() == model.to_bytes()
        assert pickle.loads(pickle.dumps(loaded)).uuid == model.uuid
    for reference in ("none", "late:2", "late@staging"):
        with pytest.raises(cenote.StoreError):
            store.load_model(reference)
    with pytest.raises(cenote.StoreError):
        store.promote_model("late", "production", 7)


def test_threads(store: cenote.FeatureStore, model: cenote.Model, view: cenote.View) -> None:
    typed, expected = flights()
    plan = store.plan(model, view)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: plan.score(row["flight_id"]).prediction, typed * 5))
    for row, prediction in enumerate(found):
        assert is_as_expected(prediction, expected[row % len(expected)])


def _score_in_child(dsn: str, keys: list[int]) -> list[float]:
    store = cenote.FeatureStore.shared(dsn)
    model = cenote.load(DEMO / "model.zip")
    view = cenote.View({
        "name": "flights", "keys": [{"name": "flight_id", "type": "i64"}], "ttl_seconds": 3600,
        "features": [{"name": name, "type": "f64" if kind == "numeric" else "text"}
                     for name, kind in model.feature_types.items()],
    })
    plan = store.plan(model, view)
    many = plan.score_many(keys * 200).to_dict()["p_Yes" if "p_Yes" in model.output_names else "Yes"]
    return many[: len(keys)]


def test_after_fork(dsn: str, view: cenote.View) -> None:
    typed, _ = flights()
    keys = [row["flight_id"] for row in typed]
    before = _score_in_child(dsn, keys)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        for found in (pool.submit(_score_in_child, dsn, keys) for _ in range(2)):
            assert found.result(timeout=60) == before
    assert _score_in_child(dsn, keys) == before


def test_asyncio(dsn: str, model: cenote.Model, view: cenote.View) -> None:
    typed, expected = flights()
    keys = [row["flight_id"] for row in typed]

    async def main() -> None:
        async with await cenote.AsyncFeatureStore.connect(dsn, connections=4) as store:
            await store.verify(view)
            plan = await store.plan(model, view)
            assert plan.model is model
            scores = await asyncio.gather(*(plan.score(key) for key in keys))
            for score, answer in zip(scores, expected, strict=True):
                assert is_as_expected(score.prediction, answer)
            assert (await plan.score_many(keys)).to_dicts() == [score.prediction for score in scores]
            assert (await store.get(view, keys[0])).status == "fresh"
            assert len(await store.get_many(view, keys, features=["hour"])) == len(keys)
            assert (await store.upsert(view, [{**typed[0], "event_ts": NOW}])).stale == 1
            with pytest.raises(cenote.StoreError):
                await store.load_model("none")
        with pytest.raises((cenote.StoreError, RuntimeError)):
            await plan.score(keys[0])

    asyncio.run(main())


def test_a_cancelled_await_cancels_its_query(dsn: str) -> None:
    async def main() -> None:
        named = f"{dsn} application_name=cancelled_awaits"
        async with await cenote.AsyncFeatureStore.connect(named, connections=2) as store:
            with cenote.FeatureStore.connect(dsn) as other:
                view = make(other, "cancelled_awaits")
                other.upsert(view, rows(1, 2))
            lock = await asyncio.to_thread(psycopg.connect, dsn)
            lock.execute("LOCK TABLE cenote.cancelled_awaits_v1 IN ACCESS EXCLUSIVE MODE")
            # Not the same: in a transaction pg_stat_activity stands still.
            watch = await asyncio.to_thread(psycopg.connect, dsn, autocommit=True)

            def at_work() -> int:
                row = watch.execute("SELECT count(*) FROM pg_stat_activity "
                                   "WHERE application_name = 'cancelled_awaits' AND state <> 'idle'").fetchone()
                assert row is not None
                return int(row[0])

            for call in (lambda: store.get(view, 1), lambda: store.get_many(view, [1, 2]), lambda: store.upsert(view, rows(1))):
                task = asyncio.ensure_future(call())
                while not at_work():
                    await asyncio.sleep(0.002)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                start = time.monotonic()
                while at_work():
                    await asyncio.sleep(0.001)
                    assert time.monotonic() - start < 1
            lock.close()
            watch.close()
            assert (await store.get(view, 1)).status == "fresh"
            with pytest.raises(cenote.InputError):
                await store.get(view, "no number")
    asyncio.run(main())


def test_an_async_store_serves_one_event_loop_after_another(dsn: str) -> None:
    store = asyncio.run(cenote.AsyncFeatureStore.connect(dsn, connections=2))
    with cenote.FeatureStore.connect(dsn) as other:
        view = make(other, "loops")
        other.upsert(view, rows(1))

    async def many() -> list[str]:
        return [features.status for features in await asyncio.gather(*(store.get(view, key % 2) for key in range(100)))]

    for _ in range(2):
        assert asyncio.run(many()) == ["missing", "fresh"] * 50
    asyncio.run(store.close())
    with pytest.raises(cenote.StoreError):
        asyncio.run(many())
