"""Each rule of the health check on a live PostgreSQL that was made ill on purpose, and silence on one that is well."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from support import run


@pytest.fixture
def database(postgres: str) -> Iterator[str]:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS health")
        connection.execute("CREATE DATABASE health")
    dsn = postgres.replace("dbname=postgres", "dbname=health")
    yield dsn
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP DATABASE health WITH (FORCE)")


def health(dsn: str, *more: str) -> dict[str, list[str]]:
    result = run("check_db_health", "--dsn", dsn, "--min-size-mb", "0", "--fail-on", "info", *more)
    found: dict[str, list[str]] = {}
    for f in result.json["findings"]:
        found.setdefault(f["rule_id"], []).append(f["message"])
    assert result.code == (1 if found else 0), result.out
    return found


def sick(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.execute("SELECT pg_stat_force_next_flush()")


def test_a_database_that_is_well_has_only_the_defaults_to_mention(database: str) -> None:
    sick(
        database,
        "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, x int)",
        "INSERT INTO t (x) SELECT 1 FROM generate_series(1, 100)",
        "ANALYZE",
    )
    assert set(health(database)) == {"PGH005", "PGH006"}  # wal_compression and random_page_cost of a fresh server
    assert run("check_db_health", "--dsn", database).code == 0


def test_gin_indexes_and_their_pending_list(database: str) -> None:
    sick(database, "CREATE TABLE d (body jsonb) WITH (autovacuum_enabled = false)", "CREATE INDEX d_body ON d USING gin (body)",
         "INSERT INTO d SELECT jsonb_build_object('a', g, 'b', g) FROM generate_series(1, 3000) g", "ANALYZE d")  # fmt: skip
    found = health(database, "--pending-tuples", "500")
    assert "PGH001" not in found or found["PGH001"]
    big = health(database, "--pending-tuples", "500", "--min-size-mb", "0")
    assert any("pgstattuple" in m for m in big.get("PGH010", [])), big
    sick(database, "CREATE EXTENSION pgstattuple")
    assert any("d_body has" in m for m in health(database, "--pending-tuples", "500")["PGH001"])
    sick(database, "SELECT gin_clean_pending_list('d_body')")
    found = health(database, "--pending-tuples", "500")
    assert "PGH001" not in found and "PGH010" not in found
    assert any("autovacuum is switched off for d" in m for m in found["PGH003"])


def test_unused_duplicate_and_invalid_indexes(database: str) -> None:
    sick(database, "CREATE TABLE t (id bigint PRIMARY KEY, x int, y int)", "CREATE INDEX used ON t (x)", "CREATE INDEX twin ON t (x)", "CREATE INDEX idle ON t (y)",
         "CREATE INDEX other ON t (y) WHERE x > 0", "INSERT INTO t SELECT g, g, 1 FROM generate_series(1, 100) g", "SET enable_seqscan = off", "SELECT * FROM t WHERE x = 5")  # fmt: skip
    with psycopg.connect(database, autocommit=True) as connection, pytest.raises(psycopg.Error):
        connection.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON t (y)")
    messages = " ".join(health(database)["PGH002"])
    assert "twin is the same as used" in messages or "used is the same as twin" in messages
    assert "idle" in messages and "broken is invalid" in messages and "t_pkey" not in messages


def test_dead_rows_and_missing_statistics(database: str) -> None:
    sick(
        database,
        "CREATE TABLE t (id bigint PRIMARY KEY) WITH (autovacuum_enabled = false)",
        "INSERT INTO t SELECT generate_series(1, 40000)",
        "DELETE FROM t WHERE id <= 20000",
    )
    messages = " ".join(health(database)["PGH003"])
    assert "20000 dead rows" in messages and "never analysed" in messages


def test_toast_memory_and_sequences(database: str) -> None:
    sick(database, "CREATE TABLE fat (id int PRIMARY KEY, body text)", "ALTER TABLE fat ALTER body SET STORAGE EXTERNAL", "INSERT INTO fat SELECT g, repeat(md5(g::text), 400) FROM generate_series(1, 50) g",
         "CREATE TABLE s (id integer PRIMARY KEY, n smallint)", "CREATE SEQUENCE narrow OWNED BY s.n", "SELECT setval('narrow', 32000)",
         "CREATE SEQUENCE wide", "SELECT setval('wide', 1000000)")  # fmt: skip
    found = health(database, "--ram-mb", "300")
    assert any("fat" in m for m in found["PGH004"])
    assert any("work_mem" in m for m in found["PGH006"])
    assert len(found["PGH007"]) == 1 and "narrow has used 97.7%" in found["PGH007"][0]
    assert run("check_db_health", "--dsn", database).code == 1, "a sequence at its end is an error"


def test_keys_that_are_columns_and_partitions(database: str) -> None:
    sick(database, "CREATE TABLE raw (body jsonb NOT NULL)", "INSERT INTO raw SELECT jsonb_build_object('kind', g) || CASE WHEN g % 2 = 0 THEN '{\"rare\": 1}' ELSE '{}' END::jsonb FROM generate_series(1, 2000) g",
         "CREATE INDEX raw_kind ON raw ((body ->> 'kind'))", "CREATE INDEX raw_rare ON raw ((body ->> 'rare'))", "ANALYZE raw",
         "CREATE TABLE p (at timestamptz NOT NULL, x int) PARTITION BY RANGE (at)", "CREATE TABLE p_old PARTITION OF p FOR VALUES FROM ('2020-01-01') TO ('2020-02-01')",
         "CREATE TABLE p_rest PARTITION OF p DEFAULT", "INSERT INTO p VALUES ('2024-05-05', 1)",
         "CREATE TABLE q (at timestamptz NOT NULL) PARTITION BY RANGE (at)", "CREATE TABLE q_far PARTITION OF q FOR VALUES FROM ('2020-01-01') TO ('2100-01-01')")  # fmt: skip
    found = health(database)
    assert len(found["PGH008"]) == 1 and "'kind'" in found["PGH008"][0]
    messages = " ".join(found["PGH009"])
    assert "p_rest" in messages and "ends at 2020-02-01" in messages and " q " not in messages


def test_no_server_is_not_checked() -> None:
    assert run("check_db_health", "--dsn", "host=/nonexistent").code == 3
