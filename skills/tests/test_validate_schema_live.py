"""Views and DDL against a live PostgreSQL: what the server would refuse, and what the generated SQL really makes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support import SKILLS, run

TEMPLATE = SKILLS / "db-architect/assets/schema_template.json"
SQL_TYPES = {"bool": "boolean", "i16": "smallint", "i32": "integer", "i64": "bigint", "f32": "real", "f64": "double precision",
             "text": "text", "timestamp": "timestamp with time zone"}  # fmt: skip


def columns(dsn: str, table: str) -> list[tuple[str, str, bool, int]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            """SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, coalesce(array_position(i.indkey::int2[], a.attnum), -1) + 1
               FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
               WHERE a.attrelid = %s::regclass AND a.attnum > 0 ORDER BY a.attnum""",
            (table,),
        ).fetchall()


def wanted(view: dict) -> list[tuple[str, str, bool, int]]:
    keys = [(k["name"], SQL_TYPES[k["type"]], True, n) for n, k in enumerate(view["keys"], 1)]
    own = [("event_ts", "timestamp with time zone", True, 0), ("written_at", "timestamp with time zone", True, 0)]
    return keys + own + [(f["name"], SQL_TYPES[f["type"]], False, 0) for f in view["features"]]


def test_what_the_server_refuses_is_found_and_nothing_is_kept(postgres: str, tmp_path: Path) -> None:
    path = tmp_path / "t.sql"
    path.write_text("CREATE TABLE kept (a int PRIMARY KEY); CREATE TABLE t (a int PRIMARY KEY, b int DEFAULT nosuch());")
    assert run("validate_schema", path, "--dsn", postgres).rules() >= {"SCH036"}
    with psycopg.connect(postgres) as connection:
        assert connection.execute("SELECT to_regclass('kept')").fetchone() == (None,)
    for good in (TEMPLATE, SKILLS / "db-architect/assets/raw_store.sql"):
        assert run("validate_schema", good, "--dsn", postgres).code == 0
    assert run("validate_schema", TEMPLATE, "--dsn", "host=/nonexistent").code == 3


def test_the_template_fits_the_published_json_schema() -> None:
    import jsonschema

    schema = json.loads((SKILLS / "db-architect/assets/schema.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(TEMPLATE.read_text()), schema)


def test_generated_sql_applies_twice_and_makes_the_view(postgres: str, tmp_path: Path) -> None:
    out = tmp_path / "schema.sql"
    assert (
        run("generate_ddl", TEMPLATE, "--output", out, "--if-not-exists", "--schema", "ddl twice", "--reader", "postgres").code
        == 0
    )
    first = out.read_bytes()
    assert (
        run("generate_ddl", TEMPLATE, "--output", out, "--if-not-exists", "--schema", "ddl twice", "--reader", "postgres").code
        == 0
    )
    assert out.read_bytes() == first
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(first)
        connection.execute(first)
        stored = connection.execute('SELECT definition, fingerprint FROM "ddl twice".cenote_views').fetchall()
    view = json.loads(TEMPLATE.read_text())
    assert columns(postgres, '"ddl twice".flight_stats_v1') == wanted(view)
    assert stored[0][0] == view
    compact = json.dumps(view, separators=(",", ":"), ensure_ascii=False)
    assert [stored[0][1]] == [hashlib.sha256(compact.encode()).hexdigest()], "the template's fields stand in the store's order"


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=15).filter(
    lambda n: n not in ("event_ts", "written_at", "extra")
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    keys=st.lists(st.sampled_from(["bool", "i16", "i32", "i64", "text", "timestamp"]), min_size=1, max_size=3),
    features=st.lists(st.sampled_from(sorted(SQL_TYPES)), min_size=1, max_size=6),
    labels=st.lists(names, min_size=9, max_size=9, unique=True),
    description=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30),
)
def test_any_view_round_trips_through_the_server(
    postgres: str, tmp_path: Path, keys: list[str], features: list[str], labels: list[str], description: str
) -> None:
    view = {"name": "any_view", "version": 3, "keys": [{"name": labels[i], "type": k} for i, k in enumerate(keys)],
            "features": [{"name": labels[3 + i], "type": f, "description": description} for i, f in enumerate(features)],
            "description": description}  # fmt: skip
    path, out = tmp_path / "v.json", tmp_path / "v.sql"
    path.write_text(json.dumps(view))
    assert run("generate_ddl", path, "--output", out, "--schema", "any").code == 0
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute('DROP SCHEMA IF EXISTS "any" CASCADE')
        connection.execute(out.read_bytes())
    assert columns(postgres, '"any".any_view_v3') == wanted(view)


def test_an_unusable_output_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    assert run("generate_ddl", TEMPLATE, "--output", tmp_path / "no" / "x.sql").code == 2
    out = tmp_path / "x.sql"
    out.write_text("kept")
    bad = tmp_path / "bad.json"
    bad.write_text('{"name": "a"}')
    assert run("generate_ddl", bad, "--output", out).code == 1
    assert out.read_text() == "kept"
