"""The feature store's past from Python: joins in time, loads, materialisation, raw documents, erasure, and the form of views."""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from typing import Any

import jsonschema
import polars as pl
import pyarrow as pa
import pytest
from server import postgres

import cenote

DAY = timedelta(days=1)
START = datetime(2026, 11, 1, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with postgres() as dsn:
        yield dsn


@pytest.fixture(scope="module")
def store(dsn: str) -> Iterator[cenote.FeatureStore]:
    with cenote.FeatureStore.connect(dsn, read_timeout=20.0, write_timeout=20) as store:
        yield store


def make(store: cenote.FeatureStore, name: str, **more: Any) -> cenote.View:
    view = cenote.View({
        "name": name,
        "keys": [{"name": "shop", "type": "text"}, {"name": "customer", "type": "i64"}],
        "features": [{"name": "x", "type": "f64"}, {"name": "tags", "type": "text[]"},
                     {"name": "segment", "type": "text", "levels": ["a", "b"], "default": "a"}],
        "event_time": "at", "history": {}, "raw": {"gin": True}, **more,
    })
    store.apply(view)
    return view


def rows(count: int, x: float = 1.0) -> dict[str, list[Any]]:
    return {"shop": ["s"] * count, "customer": list(range(count)), "at": [START + n % 3 * DAY for n in range(count)],
            "x": [x] * count, "tags": [["t", None]] * count}


def test_joins_know_what_was_known(store: cenote.FeatureStore) -> None:
    view = make(store, "joined")
    row = {"shop": "s", "customer": 1, "at": START, "x": 5.0, "tags": ["t"], "segment": "b"}
    store.upsert(view, [row], written_at="event")
    store.upsert(view, [{**row, "x": 999.0}], written_at=START + 9 * DAY)
    label = START + 2 * DAY
    assert store.as_of(view, ("s", 1), label)["x"] == 5.0
    assert store.as_of(view, ("s", 1), label, known_at="any")["x"] == 999.0
    assert store.as_of(view, ("s", 1), label, known_at=START + 9 * DAY, features=["x"]).values == {"x": 999.0}
    assert store.as_of(view, ("s", 1), START - DAY).status == "missing"
    entities = {"customer": [2, 1, 1], "shop": ["s"] * 3, "at": [label, label, START - DAY], "label": [0, 1, 0]}
    table = pa.table(entities)
    for given in (entities, table, pl.DataFrame(entities), table.to_batches()[0],
                  pa.RecordBatchReader.from_batches(table.schema, table.slice(0, 1).to_batches() + table.slice(1).to_batches())):
        found = store.join(view, given, features=["x", "tags"])
        assert found.to_dict() == {"x": [None, 5.0, None], "tags": [None, ["t"], None]}
        assert found.status == ["missing", "fresh", "missing"]
    arrow = pa.table(store.join(view, entities))
    assert arrow.column("tags").to_pylist() == [None, ["t"], None]
    assert arrow.column_names == ["status", "event_ts", "x", "tags", "segment"]
    with pytest.raises(cenote.InputError):
        store.join(view, {"customer": [1]})
    with pytest.raises(ValueError):
        store.join(view, entities, known_at="sometime")  # type: ignore[arg-type]


def test_a_load_passes_over_what_is_done(store: cenote.FeatureStore) -> None:
    view = make(store, "loaded")
    table = pa.table(rows(100))
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=30))
    done = store.load(view, reader, name="first", written_at="event")
    assert (done.batches, done.passed, done.rows, done.inserted, done.appended) == (4, 0, 100, 100, 100)
    assert store.get(view, ("s", 7)).values == {"x": 1.0, "tags": ["t", None], "segment": "a"}
    again = store.load(view, pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=30)), name="first")
    assert (again.passed, again.inserted) == (4, 100)
    changed = pa.table(rows(100, x=2.0))
    with pytest.raises(cenote.StoreError, match="other rows"):
        store.load(view, changed.to_batches(max_chunksize=30)[0], name="first")
    batches = store.finished_batches(view, "first")
    assert [(batch.batch, batch.rows) for batch in batches] == [(0, 30), (1, 30), (2, 30), (3, 10)]
    assert store.forget_batches(view) == 0 and store.forget_batches(view, days=0) == 4


def test_a_history_is_brought_online(store: cenote.FeatureStore) -> None:
    view = make(store, "brought")
    store.upsert(view, rows(50), history_only=True)
    assert store.get(view, ("s", 1)).status == "missing"
    calls: list[tuple[int, int]] = []
    done = store.materialize(view, batch_rows=20, progress=lambda done, all: calls.append((done, all)))
    assert (done.rows, done.inserted, done.batches) == (50, 50, 4) and calls[0] == (0, 4) and calls[-1] == (4, 4)
    assert store.materialize(view).rows == 0
    assert store.materialize(view, full=True) == store.materialize(view, full=True)
    assert store.get(view, ("s", 1))["x"] == 1.0
    with pytest.raises(ZeroDivisionError):
        store.materialize(view, full=True, progress=lambda done, all: 1 // 0)
    assert len(store.maintain(view).made) in (3, 4), "the month of the rows may be this one"
    erased = store.erase(view, [("s", 1)])
    assert (erased.online, erased.history, erased.raw) == (1, 1, 0)


def test_documents(store: cenote.FeatureStore) -> None:
    view = make(store, "documents")
    documents = [cenote.Document(("s", n), START, {"n": n, "of": {"country": "CH"}}, written_at=START) for n in range(3)]
    assert store.put_documents(view, documents).stored == 3
    assert store.put_documents(view, documents).known == 3
    found = store.get_document(view, ("s", 1))
    assert found is not None and found.document == {"n": 1, "of": {"country": "CH"}} and found.key == ("s", 1)
    assert found.event_ts == START == found.written_at
    store.put_documents(view, [cenote.Document({"shop": "s", "customer": 1}, START, "text")])
    corrected = store.get_document(view, ("s", 1))
    assert corrected is not None and corrected.document == "text"
    known = store.get_document(view, ("s", 1), at=START + DAY)
    assert known is not None and known.document["n"] == 1
    assert [d.key for d in store.find_documents(view, containing={"n": 2})] == [("s", 2)]
    assert len(store.find_documents(view, path=["of", "country"], text="CH", limit=2)) == 2
    with pytest.raises(ValueError):
        store.find_documents(view)
    assert store.erase(view, [("s", 1)]).raw == 2
    assert store.get_document(view, ("s", 1)) is None
    with pytest.raises(cenote.InputError, match="raw documents"):
        plain = cenote.View({"name": "p", "keys": [{"name": "k", "type": "i64"}], "features": [{"name": "f", "type": "f64"}]})
        store.get_document(plain, 1)


def test_several_views(store: cenote.FeatureStore) -> None:
    airport = cenote.View({"name": "airport", "keys": [{"name": "airport", "type": "text"}], "features": [{"name": "wind", "type": "f64"}]})
    flight = cenote.View({"name": "flight", "keys": [{"name": "flight", "type": "i64"}, {"name": "origin", "type": "text", "entity": "airport"}],
                          "features": [{"name": "delay", "type": "f64"}]})
    for view in (airport, flight):
        store.apply(view)
    store.upsert(airport, [{"airport": "EWR", "event_ts": START, "wind": 1.0}, {"airport": "SFO", "event_ts": START, "wind": 2.0}])
    store.upsert(flight, [{"flight": 7, "origin": "EWR", "event_ts": START, "delay": 3.0}])
    views, roles = [flight, airport, airport], [None, {"airport": "origin"}, {"airport": "to"}]
    sets = store.get_views(views, [{"flight": 7, "to": "SFO", "origin": "EWR"}, (8, "EWR", "XXX")], roles=roles)
    assert [found.to_dict() for found in sets] == [{"delay": [3.0, None]}, {"wind": [1.0, 1.0]}, {"wind": [2.0, None]}]
    with pytest.raises(ValueError):
        store.get_views(views, [], roles=[None])
    with pytest.raises(cenote.InputError):
        store.get_views(views, [(7, "EWR")], roles=roles)


def test_the_same_for_asyncio(dsn: str) -> None:
    async def run() -> None:
        async with await cenote.AsyncFeatureStore.connect(dsn) as store:
            view = cenote.View({"name": "aio", "keys": [{"name": "k", "type": "i64"}], "raw": {},
                                "features": [{"name": "f", "type": "f64"}], "history": {}})
            await store.apply(view)
            done = await store.load(view, [{"k": 1, "event_ts": START, "f": 1.5}], name="n", written_at="event", history_only=True)
            assert done.appended == 1
            while (await store.materialize(view)).rows == 0:
                await asyncio.sleep(0.05)
            assert (await store.get(view, 1))["f"] == 1.5
            assert (await store.as_of(view, 1, START + DAY))["f"] == 1.5
            assert (await store.join(view, [{"k": 1, "event_ts": START + DAY}])).to_dict() == {"f": [1.5]}
            await store.put_documents(view, [cenote.Document(1, START, [1])])
            document = await store.get_document(view, 1)
            assert document is not None and document.document == [1]
            await store.maintain(view)
            assert (await store.erase(view, [1])).online == 1

    asyncio.run(run())


WHOLE: dict[str, Any] = {
    "name": "whole", "version": 3, "keys": [{"name": "o", "type": "text", "entity": "airport"}, {"name": "d", "type": "date"}],
    "features": [{"name": "f", "type": "f64", "default": 0.5, "description": "d"},
                 {"name": "c", "type": "text", "levels": ["a", "b"], "default": "b"}, {"name": "v", "type": "vector"}],
    "ttl_seconds": 60, "history": {"retention_days": 5}, "raw": {"gin": True, "paths": [["a"]]}, "event_time": "at",
    "description": "d", "owner": "o", "tags": {"a": "b"},
}


def spots(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield way
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from spots(inner, (*way, name))


def test_schema_and_parser_agree() -> None:
    """Each view with one thing changed is taken by both or refused by both, but for what the schema cannot say."""
    validator = jsonschema.Draft202012Validator(json.loads(cenote.View.json_schema()))
    validator.check_schema(validator.schema)
    dice, taken, refused = random.Random(7), 0, 0
    others = [None, True, -1, 0, 1, 70_000, 1.5, "", "x", "f64", "text", "Name", "written_at", "n\u00e9", [], ["a"], {}, {"name": "z"},
              "x" * 41, "2026-01-01"]
    for _ in range(4000):
        view = copy.deepcopy(WHOLE)
        way = dice.choice([way for way in spots(view) if way])
        place: Any = view
        for name in way[:-1]:
            place = place[name]
        match dice.randrange(4):
            case 0:
                del place[way[-1]]
            case 1 if isinstance(place, dict):
                place[dice.choice(["extra", "nam", "levels", "default", "entity", "gin"])] = dice.choice(others)
            case _:
                place[way[-1]] = dice.choice(others)
        by_schema = validator.is_valid(view)
        try:
            cenote.View(view)
            by_parser, why = True, ""
        except cenote.InputError as error:
            by_parser, why = False, str(error)
        beyond = ("stands twice", "table's own", "the default is", "is no level", "levels are for text")
        if by_schema and not by_parser and any(reason in why for reason in beyond):
            continue
        # The parser also takes an empty list for an object whose members may all be left out.
        if by_parser and not by_schema and [] in (view.get("history"), view.get("raw")):
            continue
        assert by_schema == by_parser, (view, why)
        taken, refused = taken + by_parser, refused + (not by_parser)
    assert taken > 300 and refused > 300, (taken, refused)


def test_a_date_default_and_a_new_column(store: cenote.FeatureStore) -> None:
    definition = {"name": "grown", "keys": [{"name": "k", "type": "i64"}], "features": [{"name": "f", "type": "f64"}]}
    old = cenote.View(definition)
    store.apply(old)
    store.upsert(old, [{"k": 1, "event_ts": START, "f": 1.0}])
    new = cenote.View({**definition, "features": [{"name": "f", "type": "f64"},
                                                  {"name": "since", "type": "date", "default": "2020-02-29"}]})
    store.apply(new)
    store.upsert(new, [{"k": 2, "event_ts": START, "f": 1.0}])
    store.upsert(new, [{"k": 3, "event_ts": START, "f": 1.0, "since": None}])
    assert store.get_many(new, [1, 2, 3]).to_dict()["since"] == [date(2020, 2, 29), date(2020, 2, 29), None]
