"""Plans of queries on a live PostgreSQL: each fault made on purpose, and queries that must not be run."""

from __future__ import annotations

import argparse
from pathlib import Path

import psycopg
import pytest

from support import load, run, script


@pytest.fixture(scope="module")
def database(postgres: str) -> str:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS plans")
        connection.execute("CREATE DATABASE plans")
    dsn = postgres.replace("dbname=postgres", "dbname=plans")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE e (id int PRIMARY KEY, kind int, body jsonb)")
        connection.execute(
            "INSERT INTO e SELECT g, g % 100, jsonb_build_object('kind', g % 1000) FROM generate_series(1, 60000) g"
        )
        connection.execute("CREATE INDEX e_body_kind ON e ((body ->> 'kind'))")
        connection.execute("CREATE TABLE n (a int, b int)")
        connection.execute("INSERT INTO n SELECT g % 50, g % 50 FROM generate_series(1, 60000) g")
        connection.execute("ANALYZE")
    return dsn


def plan(dsn: str, sql: str, *more: str) -> set[str]:
    result = run("check_query_plan", "--dsn", dsn, "--query", sql, "--fail-on", "warning", *more)
    assert result.code == (1 if result.rules() else 0), result.out
    return result.rules()


def test_the_right_index_passes(database: str) -> None:
    assert (
        plan(
            database,
            "SELECT * FROM e WHERE body ->> 'kind' = $1",
            "--param",
            "7",
            "--expect-index",
            "e_body_kind",
            "--max-ms",
            "5000",
        )
        == set()
    )
    assert plan(database, "SELECT * FROM e ORDER BY id LIMIT 10") == set()


def test_each_fault(database: str) -> None:
    assert "QPL001" in plan(database, "SELECT * FROM e WHERE (body -> 'kind')::int = 7", "--expect-index", "e_body_kind")
    assert "QPL006" in plan(database, "SELECT * FROM e WHERE (body -> 'kind')::int = 7", "--expect-index", "e_body_kind")
    assert "QPL002" in plan(database, "SELECT * FROM n WHERE a = 7 AND b = 7 OR a = b AND a < 10 AND b < 10")
    assert "QPL004" in plan(database + " options='-c work_mem=64kB'", "SELECT * FROM e ORDER BY body")
    forced = database + " options='-c enable_hashjoin=off -c enable_mergejoin=off -c enable_memoize=off -c enable_material=off'"
    assert "QPL005" in plan(forced, "SELECT count(*) FROM n JOIN e ON e.id = n.a")
    assert "QPL007" in plan(database, "SELECT pg_sleep(0.05)", "--max-ms", "10")
    assert "QPL007" in plan(database, "SELECT pg_sleep(5)", "--timeout", "0.2")


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM e",
        "SELECT 1; SELECT 2",
        "SELEC 1",
        "SELECT nosuch FROM e",
        "WITH d AS (DELETE FROM e RETURNING 1) SELECT * FROM d",
        "SELECT * INTO x FROM e",
    ],
)
def test_what_is_not_one_select_is_refused_and_changes_nothing(database: str, sql: str) -> None:
    assert plan(database, sql) == {"QPL008"}
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM e").fetchone() == (60000,)


def test_files_with_several_queries_and_places(database: str, tmp_path: Path) -> None:
    path = tmp_path / "q.sql"
    path.write_text("SELECT 1;\n\n-- the slow one\nSELECT * FROM e WHERE (body -> 'kind')::int = 7;\n")
    result = run("check_query_plan", path, "--dsn", database, "--fail-on", "warning")
    assert {(f["rule_id"], f["line"]) for f in result.json["findings"]} >= {("QPL001", 3)} or {("QPL001", 4)} <= {
        (f["rule_id"], f["line"]) for f in result.json["findings"]
    }
    assert len(result.json["data"]["plans"]) == 2


def test_a_lossy_bitmap_is_named() -> None:
    """A table large enough to be lossy ("QPL003") is too large for a test: the judge is given such a plan."""
    module = load(script("check_query_plan"))
    report = module.Report(module.TOOL, data={"plans": []})
    node = {
        "Node Type": "Bitmap Heap Scan",
        "Relation Name": "e",
        "Actual Rows": 5,
        "Plan Rows": 5,
        "Actual Loops": 1,
        "Lossy Heap Blocks": 9,
    }
    args = argparse.Namespace(max_ms=None, expect_index=[], removed_rows=10, loops=10)
    module.judge(report, args, "q", 1, {"Plan": node, "Execution Time": 1.0, "Planning Time": 0.1})
    assert [f.rule_id for f in report.findings] == ["QPL003"]


def test_no_server_or_no_query(database: str) -> None:
    assert run("check_query_plan", "--dsn", "host=/nonexistent", "--query", "SELECT 1").code == 3
    assert run("check_query_plan", "--dsn", database).code == 2
