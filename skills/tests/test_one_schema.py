"""One schema, end to end: the tables that `generate_ddl.py`'s SQL makes are those that the store itself makes of the same view.

The judge is the server's own catalogue: columns, types, collations, defaults, constraints, keys, indexes, storage parameters,
and the store's record of its views. (Comments are the SQL's own addition.) Skipped where the cenote wheel is not installed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support import FIXTURES, SKILLS, load, run, script

cenote = pytest.importorskip("cenote", reason="the cenote wheel is not installed")
OWN_SCHEMA = SKILLS.parent / "core/src/store/view.schema.json"
pytestmark = pytest.mark.skipif(
    not OWN_SCHEMA.exists(), reason="this library is older than the format of views that the scripts know"
)
TEMPLATE = SKILLS / "db-architect/assets/schema_template.json"
views = load(script("generate_ddl")).views
CATALOGUE = {
    "tables": """SELECT c.relname, c.relkind, c.reloptions, c.relpersistence, pg_get_partkeydef(c.oid)
                 FROM pg_class c WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1""",
    "columns": """SELECT c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attcollation::regcollation::text,
                  a.attstorage, a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid)
                  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
                  WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1, 2""",
    "constraints": """SELECT conrelid::regclass::text, conname, contype, convalidated, pg_get_constraintdef(oid)
                      FROM pg_constraint WHERE connamespace = %(schema)s::regnamespace ORDER BY 1, 2""",
    "indexes": """SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = %(name)s ORDER BY 1, 2""",
    "views": "SELECT name, version, definition, fingerprint FROM {schema}.cenote_views ORDER BY 1, 2",
}


def catalogue(dsn: str, schema: str) -> dict[str, list[Any]]:
    quoted = '"' + schema + '"'
    with psycopg.connect(dsn) as connection:
        return {
            part: [tuple(str(v).replace(quoted, "S").replace(schema, "S") if isinstance(v, str) else v for v in row)
                   for row in connection.execute(sql.format(schema=quoted), {"schema": quoted, "name": schema}).fetchall()]
            for part, sql in CATALOGUE.items()
        }  # fmt: skip


def both_ways(dsn: str, view: dict[str, Any], folder: Path) -> None:
    """The same view by the store and by the SQL, each in a schema of its own."""
    path, out = folder / "view.json", folder / "view.sql"
    path.write_text(json.dumps(view), encoding="utf-8")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS by_store, by_sql CASCADE")
    made = cenote.View(view)
    with cenote.FeatureStore.connect(dsn, schema="by_store") as store:
        store.apply(made)
    result = run("generate_ddl", path, "--output", out, "--schema", "by_sql")
    assert result.code == 0, result.out
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(out.read_bytes())
    store_made, sql_made = catalogue(dsn, "by_store"), catalogue(dsn, "by_sql")
    for part in CATALOGUE:
        assert sql_made[part] == store_made[part], part
    assert sql_made["tables"] and sql_made["columns"] and sql_made["views"]
    assert views.fingerprint(json.loads(path.read_text("utf-8"))) == sql_made["views"][0][3]
    with cenote.FeatureStore.connect(dsn, schema="by_sql") as store:
        store.verify(made)
        assert store.plan_view(made) == [], "nothing is left for the store to apply"


def test_the_template_is_the_same_by_both_ways(postgres: str, tmp_path: Path) -> None:
    view = json.loads(TEMPLATE.read_text())
    both_ways(postgres, view, tmp_path)
    both_ways(postgres, {**view, "history": {"retention_days": 730}}, tmp_path)
    both_ways(postgres, {**view, "history": {}, "raw": {}, "event_time": "departed_at", "tags": {"b": "2", "a": "ü"}}, tmp_path)


def test_a_view_that_says_everything_is_the_same_by_both_ways(postgres: str, tmp_path: Path) -> None:
    both_ways(postgres, json.loads((FIXTURES / "validate_schema/clean/whole.json").read_text()), tmp_path)


DEFAULTS = [
    ("bool", True), ("bool", False), ("bool", "true"), ("bool", 1), ("i16", 32767), ("i16", 32768), ("i16", -32768), ("i32", 2.0), ("i32", 2.5),
    ("i64", 2**63 - 1), ("i64", 2**63), ("i64", "5"), ("i64", True), ("f32", 0.1), ("f32", 16777217), ("f32", 1e39), ("f64", 1e-7), ("f64", 1e-5),
    ("f64", 1e15), ("f64", 1e16), ("f64", 123456.789), ("f64", -0.0), ("f64", 5e-324), ("f64", 1.7976931348623157e308), ("f64", 2**53 + 1), ("f64", 10**19),
    ("f64", 10**20), ("numeric", "1.50"), ("numeric", 0.1), ("numeric", "a"), ("numeric", 7), ("text", "it's \\ a"), ("text", "\0"), ("text", ""), ("text", 5),
    ("date", "2026-02-29"), ("date", "2024-02-29"), ("date", "2026-02-28T00:00"), ("timestamp", "2026-11-25T12:30:00.5+01:00"), ("timestamp", "soon"),
    ("timestamp", "2026-11-25 24:00Z"), ("timestamp", "2026-11-25Z"), ("uuid", "67e55044-10b1-426f-9247-bb680e5fe0c8"), ("uuid", "67e55044"),
    ("json", "{}"), ("f32[]", "[]"), ("text", None), ("text", ["a"]), ("vector", "[1]"),
]  # fmt: skip


@pytest.mark.parametrize(("ty", "default"), DEFAULTS, ids=str)
def test_defaults_are_taken_and_written_as_the_store_does(ty: str, default: Any) -> None:
    view = {"name": "v", "keys": [{"name": "id", "type": "i64"}], "features": [{"name": "x", "type": ty, "default": default}]}
    try:
        made = cenote.View(json.dumps(view))
    except cenote.CenoteError:
        assert list(views.problems(view)), "the store refuses it"
    else:
        assert not list(views.problems(view)), "the store takes it"
        assert views.canonical(view) == made.to_json()


def test_the_published_json_schema_is_the_librarys_own() -> None:
    assert (SKILLS / "db-architect/assets/schema.schema.json").read_bytes() == OWN_SCHEMA.read_bytes()


column_names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12).filter(
    lambda text: len(text.encode()) <= 63 and text not in views.OWN
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    keys=st.lists(st.sampled_from(views.KEY_TYPES), min_size=1, max_size=3),
    features=st.lists(st.sampled_from(sorted(set(views.TYPES) - {"vector"})), min_size=1, max_size=8),
    names=st.lists(column_names, min_size=11, max_size=11, unique=True),
    description=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    history=st.sampled_from([None, {}, {"retention_days": 1}]),
)
def test_any_view_is_the_same_by_both_ways(
    postgres: str, tmp_path: Path, keys: list[str], features: list[str], names: list[str], description: str, history: Any
) -> None:
    view: dict[str, Any] = {
        "name": "any_view", "version": 7, "keys": [{"name": names[i], "type": k} for i, k in enumerate(keys)],
        "features": [{"name": names[3 + i], "type": f, "description": description} for i, f in enumerate(features)],
        "ttl_seconds": 5, "description": description,
    }  # fmt: skip
    both_ways(postgres, view if history is None else {**view, "history": history}, tmp_path)


def test_the_published_json_schema_knows_the_same_types() -> None:
    schema = json.loads((SKILLS / "db-architect/assets/schema.schema.json").read_text())
    keys = schema["properties"]["keys"]["items"]["properties"]["type"]["enum"]
    assert (sorted(keys), sorted(schema["$defs"]["type"]["enum"])) == (sorted(views.KEY_TYPES), sorted(views.TYPES))
    assert set(schema["properties"]) == set(views.FIELDS)


REFUSED = [
    {"name": "V"}, {"version": 0}, {"version": 1 << 32}, {"ttl_seconds": 0}, {"keys": []}, {"features": []}, {"nosuch": 1},
    {"keys": [{"name": "a", "type": "f64"}]}, {"keys": [{"name": "a", "type": "json"}]}, {"keys": [{"name": "a", "type": "numeric"}]},
    {"keys": [{"name": "a", "type": "text[]"}]}, {"keys": [{"name": "a", "type": "i64"}, {"name": "a", "type": "i64"}]},
    {"keys": [{"name": "event_ts", "type": "i64"}]}, {"features": [{"name": "x" * 64, "type": "f64"}]}, {"features": [{"name": "x", "type": "float"}]},
    {"features": [{"name": "x", "type": "f64", "levels": ["a"]}]}, {"features": [{"name": "x", "type": "text", "levels": ["a", "a"]}]},
    {"history": {"days": 3}}, {"history": {"retention_days": -1}}, {"history": 5}, {"raw": {"paths": [[]]}}, {"event_time": "extra"}, {"event_time": "x"}, {"tags": {"a": 1}}, {"tags": None}, {"owner": 5}, {"ttl_seconds": "60"},
]  # fmt: skip


@pytest.mark.parametrize("change", REFUSED, ids=str)
def test_what_the_store_refuses_the_scripts_refuse(change: dict[str, Any], tmp_path: Path) -> None:
    view = {"name": "v", "keys": [{"name": "id", "type": "i64"}], "features": [{"name": "x", "type": "f64"}], **change}
    with pytest.raises(cenote.CenoteError):
        cenote.View(view)
    path = tmp_path / "v.json"
    path.write_text(json.dumps(view))
    assert run("validate_schema", path).code == 1
    assert run("generate_ddl", path).code == 1
