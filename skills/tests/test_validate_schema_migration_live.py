"""Revisions that are really run: rendered to SQL without a server, and up, down and up again on a private PostgreSQL."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from support import FIXTURES, run

pytest.importorskip("alembic")
CLEAN = FIXTURES / "validate_schema_migration/clean_alembic"
HEAD = "import sqlalchemy as sa\nfrom alembic import op\n\nrevision = '{}'\ndown_revision = {}\n\n\n"


def chain(folder: Path, *bodies: tuple[str, str]) -> Path:
    previous = None
    for number, (up, down) in enumerate(bodies):
        text = HEAD.format(f"r{number}", repr(previous)) + f"def upgrade():\n    {up}\n\n\ndef downgrade():\n    {down}\n"
        (folder / f"r{number}.py").write_text(text)
        previous = f"r{number}"
    return folder


def url(dsn: str) -> str:
    words = dict(word.split("=", 1) for word in dsn.split())
    return f"postgresql+psycopg://{words['user']}@/{words['dbname']}?host={words['host']}"


def databases(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        return [name for (name,) in connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'skill_%'")]


def test_rendering_finds_what_only_running_shows(tmp_path: Path) -> None:
    folder = chain(
        tmp_path,
        ("op.create_table('t', sa.Column('id', sa.BigInteger, primary_key=True))", "op.drop_table('t')"),
        ("getattr(op, 'create_' + 'index')('i', 't', ['id'])", "op.drop_index('i')"),
    )
    assert "MIG005" not in run("validate_schema_migration", folder).rules()
    result = run("validate_schema_migration", folder, "--render")
    assert [(Path(f["path"]).name, f["line"]) for f in result.json["findings"] if f["rule_id"] == "MIG005"] == [("r1.py", 8)]
    assert result.json["partial"] == []


def test_what_cannot_be_rendered_is_said_and_read_as_it_stands(tmp_path: Path) -> None:
    folder = chain(tmp_path, ("print(op.get_bind().execute(sa.text('select 1')).scalar())", "pass"))
    result = run("validate_schema_migration", folder, "--render")
    assert re.search(r"1 revision\(s\) could not be rendered", result.json["partial"][0])
    assert run("validate_schema_migration", folder, "--render", "--all-engines").code in (1, 3)


def test_up_down_up_on_a_server(postgres: str, tmp_path: Path) -> None:
    good = ("op.create_table('t', sa.Column('id', sa.BigInteger, primary_key=True))", "op.drop_table('t')")
    folder = chain(tmp_path, good, ("op.create_index('i', 't', ['id'])", "op.drop_index('i')"))
    result = run("validate_schema_migration", folder, "--database-url", url(postgres))
    assert not {"MIG023", "MIG024"} & result.rules(), result.out
    assert "alembic on PostgreSQL" in result.json["engines"]
    chain(tmp_path, good, ("op.create_index('i', 't', ['id'])", "pass"))
    result = run("validate_schema_migration", folder, "--database-url", url(postgres))
    assert "MIG023" not in result.rules(), "dropping the table takes the index with it"
    chain(tmp_path, good, ("op.execute('CREATE TYPE mood AS ENUM ()')", "pass"))
    found = {f["rule_id"]: f for f in run("validate_schema_migration", folder, "--database-url", url(postgres)).json["findings"]}
    assert "already exists" in found["MIG023"]["message"] and found["MIG023"]["path"].endswith("r1.py")
    chain(tmp_path, good, ("op.execute(\"SELECT set_config('a.b', 'c', false)\")", "op.execute('DROP TABLE IF EXISTS u')"))
    chain(
        tmp_path,
        good,
        (
            "op.execute('CREATE TABLE IF NOT EXISTS u AS SELECT count(*)::int AS n FROM pg_tables')",
            "op.execute('ALTER TABLE u ADD COLUMN left_behind int')",
        ),
    )
    assert "MIG024" in run("validate_schema_migration", folder, "--database-url", url(postgres)).rules()
    assert databases(postgres) == []


def test_a_server_that_is_not_there_is_not_checked() -> None:
    result = run("validate_schema_migration", CLEAN, "--database-url", "postgresql+psycopg://a@127.0.0.1:9/x")
    assert result.code == 3 and "no scratch database" in result.json["error"]
