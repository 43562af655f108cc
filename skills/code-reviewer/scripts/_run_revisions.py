"""Runs Alembic revisions in a process of their own: to SQL text without a server, or up, down and up again on a scratch database.

In go a mode, the revisions' paths from the base upwards, and for `try` a database's URL; out comes one JSON document on stdout.
Whatever a revision prints goes to stderr. It executes the files, which is why `validate_schema_migration.py` does so only when asked.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import sys
from pathlib import Path
from typing import Any

CATALOGUE = """
SELECT 'column', c.oid::regclass::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull::text, coalesce(pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relkind IN ('r', 'p', 'v', 'm') AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
  AND c.relnamespace::regnamespace::text NOT LIKE 'pg_toast%'
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', '' FROM pg_constraint
WHERE connamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
UNION ALL
SELECT 'index', tablename, indexname, indexdef, '', '' FROM pg_indexes WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
ORDER BY 1, 2, 3, 4
"""


def revision(path: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"revision_{abs(hash(path))}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def short(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def render(paths: list[str]) -> dict[str, dict[str, str]]:
    """The SQL of each revision's upgrade, or why there is none: most often it asks the database."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    out: dict[str, dict[str, str]] = {}
    for path in paths:
        buffer = io.StringIO()
        try:
            options = {"as_sql": True, "output_buffer": buffer, "literal_binds": True}
            with Operations.context(MigrationContext.configure(dialect_name="postgresql", opts=options)):
                revision(path).upgrade()
            out[path] = {"sql": buffer.getvalue()}
        except (Exception, SystemExit) as error:  # whatever a revision does, the others are still rendered
            out[path] = {"error": short(error)}
    return out


def attempt(paths: list[str], url: str) -> dict[str, Any]:
    """Up, down, up. `failed` names the first revision that did not go through and in which direction."""
    import sqlalchemy as sa
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    engine = sa.create_engine(url)
    after: list[list[tuple[Any, ...]]] = []
    with engine.connect() as connection:
        for direction in ("upgrade", "downgrade", "upgrade"):
            for path in paths if direction == "upgrade" else reversed(paths):
                context = MigrationContext.configure(connection)
                try:
                    with context.begin_transaction(), Operations.context(context):
                        getattr(revision(path), direction)()
                    connection.commit()
                except (Exception, SystemExit) as error:
                    return {"failed": path, "direction": direction, "error": short(error)}
            if direction == "upgrade":
                after.append([tuple(row) for row in connection.execute(sa.text(CATALOGUE))])
                connection.commit()
    changed = sorted({" ".join(str(part) for part in row[:3]) for row in set(after[0]) ^ set(after[1])})
    return {"changed": changed[:20], "tables": len({row[1] for row in after[0]})}


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    sys.path.insert(0, str(Path(rest[-1]).resolve().parent))
    with contextlib.redirect_stdout(sys.stderr):
        answer = render(rest) if mode == "render" else attempt(rest[1:], rest[0])
    json.dump(answer, sys.stdout)
