# /// script
# requires-python = ">=3.11"
# dependencies = ["pglast>=8.8,<9", "squawk-cli>=2.70,<3"]
# ///
"""Schema Drift Detector: what a chain of migrations (Alembic revisions or SQL files) does to a PostgreSQL that is being served from."""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from _migration_ops import Column, Migration, Op, from_revision, from_sql

from _engines import squawk
from _pysource import Module
from _report import NotChecked, Report, Rule, Tool, Unusable, files, main, need, shown

EXPAND = "Expand and contract: add the new one, write both, backfill, switch readers, drop the old one in a later release."
RULES = (
    Rule("MIG001", "error", "a json column where jsonb is meant", "Use jsonb: it is indexable by GIN, comparable and parsed once."),
    Rule("MIG002", "error", "a jsonb column is filtered and has no GIN index at the end of the chain", "CREATE INDEX CONCURRENTLY ... USING gin (column jsonb_path_ops)."),
    Rule("MIG003", "error", "a btree index on a jsonb column serves equality of whole documents only", "Use GIN, or a btree on the expression (column ->> 'key')."),
    Rule("MIG004", "warning", "GIN with the default operator class where only @> is used", "Use jsonb_path_ops: a smaller index, and quicker for @>."),
    Rule("MIG005", "error", "an index on a live table is built under a write lock, or CONCURRENTLY inside a transaction", "CREATE INDEX CONCURRENTLY, in Alembic inside `with op.get_context().autocommit_block():`."),
    Rule("MIG006", "error", "a NOT NULL column without default is added to a live table", "Add it nullable, backfill in batches, then NOT NULL by a validated CHECK."),
    Rule("MIG007", "error", "a foreign key or CHECK on a live table is validated under its lock", "Add it NOT VALID, then VALIDATE CONSTRAINT in a later transaction."),
    Rule("MIG008", "error", "a column's type change or volatile default rewrites a live table under an exclusive lock", "Add a new column, backfill in batches, swap."),
    Rule("MIG009", "error", "a column or table is dropped or renamed while code uses it", EXPAND),
    Rule("MIG010", "error", "data of a whole table is changed or removed in one statement", "Work in batches by key, each in its own transaction."),
    Rule("MIG011", "warning", "a live table is altered without lock_timeout", "SET lock_timeout = '3s' first, and retry: a waiting ALTER stops all readers behind it."),
    Rule("MIG012", "error", "a partitioned table's key or a partition's detachment is wrong", "Put the partition key into each primary key and unique constraint; DETACH ... CONCURRENTLY."),
    Rule("MIG013", "error", "a feature table without the time of its event cannot be joined as of a past moment", "Add event_ts timestamptz NOT NULL and written_at timestamptz NOT NULL DEFAULT now()."),
    Rule("MIG014", "error", "the chain of revisions is broken", "Merge the heads (`alembic merge heads`), or mend down_revision."),
    Rule("MIG015", "warning", "upgrade() changes the schema and downgrade() does nothing", "Write the way back, or raise with the reason there is none."),
    Rule("MIG016", "warning", "a filter by ->> has no expression index", "CREATE INDEX CONCURRENTLY ... ON t ((column ->> 'key'))."),
    Rule("MIG017", "warning", "SQL is put together from values that are not constants of the file", "Bind values by sa.text(...).bindparams; quote identifiers by sa.sql.quoted_name."),
    Rule("MIG018", "error", "PostgreSQL cannot parse this SQL", "Mend it; `psql -f` on a scratch database shows the place."),
    Rule("MIG019", "warning", "an enum value is added inside a transaction and cannot be used before its commit", "Add it in a revision of its own, in an autocommit block."),
    Rule("MIG020", "warning", "an index that a foreign key's column needs is dropped", "Keep an index on the referencing column: deletes of the parent scan the child without it."),
    Rule("MIG021", "warning", "an index is dropped under a lock that readers wait for", "DROP INDEX CONCURRENTLY."),
    Rule("MIG023", "error", "a revision fails on a real PostgreSQL, upwards, downwards, or upwards again", "Run it there by hand; what the first attempt leaves behind is what downgrade() forgot."),
    Rule("MIG024", "error", "down and up again makes another schema", "Let downgrade() undo exactly what upgrade() does, names of constraints and indexes among it."),
    Rule("MIG022", "error", "a transaction is begun and never ended", "COMMIT at the end: whatever the file did is undone when the connection closes."),
)  # fmt: skip
TOOL = Tool("validate_schema_migration", "1.0.0", __doc__ or "", RULES)
# Squawk's rules -> rule and severity. The rest of its rules are of style, or need the chain that only this script sees.
SQUAWK = {
    "adding-required-field": ("MIG006", "error"), "adding-not-nullable-field": ("MIG006", "warning"), "adding-field-with-default": ("MIG008", "error"),
    "adding-serial-primary-key-field": ("MIG008", "error"), "changing-column-type": ("MIG008", "error"),
    "require-concurrent-index-creation": ("MIG005", "error"), "require-concurrent-reindex": ("MIG005", "error"),
    "ban-concurrent-index-creation-in-transaction": ("MIG005", "error"), "require-concurrent-partition-detach": ("MIG012", "error"),
    "disallowed-unique-constraint": ("MIG005", "error"), "adding-primary-key-constraint": ("MIG005", "error"),
    "adding-foreign-key-constraint": ("MIG007", "error"),
    "renaming-column": ("MIG009", "warning"), "renaming-table": ("MIG009", "warning"), "ban-drop-column": ("MIG009", "warning"),
    "ban-drop-table": ("MIG009", "warning"), "ban-drop-not-null": ("MIG009", "warning"), "ban-drop-database": ("MIG010", "error"),
    "ban-truncate-cascade": ("MIG010", "error"), "ban-alter-domain-with-add-constraint": ("MIG007", "error"),
    "require-concurrent-index-deletion": ("MIG021", "warning"),
    "ban-uncommitted-transaction": ("MIG022", "error"), "require-enum-value-ordering": ("MIG019", "info"),
}  # fmt: skip
EVENT = frozenset({"event_ts", "event_time", "event_timestamp", "event_at"})
LOCKING = frozenset(
    {"add_column", "drop_column", "alter_type", "set_not_null", "add_fk", "add_check", "rename_column", "rename_table"}
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", help="revisions (.py), SQL files (.sql) or folders of them")
    parser.add_argument(
        "--migration-dir", action="append", default=[], metavar="DIR", help="a folder of revisions (may be given again)"
    )
    parser.add_argument(
        "--queries",
        action="append",
        default=[],
        metavar="FILE",
        help="SQL that the application runs: its JSONB filters need indexes",
    )
    parser.add_argument(
        "--source-dir",
        action="append",
        default=[],
        metavar="DIR",
        help="application code: a dropped name still used there is an error",
    )
    parser.add_argument(
        "--render", action="store_true", help="run each revision's upgrade() to SQL text, and judge that too (executes the files)"
    )
    parser.add_argument(
        "--database-url",
        metavar="URL",
        help="run the revisions up, down and up again in a scratch database made there, and dropped (executes the files)",
    )
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="files or folders to leave out")


def check(args: argparse.Namespace, report: Report) -> None:
    pglast: Any = need("pglast", "pglast>=8.8,<9")
    need("pglast.visitors", "pglast>=8.8,<9")
    report.engines.append(f"pglast {pglast.__version__} (PostgreSQL {pglast.get_postgresql_version()[0]})")
    chain = [
        m
        for path in files(report, [*args.paths, *args.migration_dir], ["*.py", "*.sql"], args.exclude)
        for m in read(pglast, report, path)
    ]
    used = names_in(report, args.source_dir) if args.source_dir else None
    chain = ordered(report, chain)
    state = State(report, used)
    for migration in chain:
        state.apply(migration)
    once = len(state.queries)  # what migrations filter by themselves runs once, and may well be slow
    for path in files(report, args.queries, ["*.sql"]):
        text = report.read(path)
        if text is not None:
            try:
                state.queries += [(path, op) for op in from_sql(pglast, text) if op.kind == "filter"]
            except pglast.parser.ParseError as error:
                report.add("MIG018", path, 1, f"PostgreSQL cannot parse these queries: {error}")
    state.finish(once)
    revisions = [m for m in chain if m.revision]
    if args.render and revisions:
        render(pglast, report, revisions, used)
    if args.database_url:
        if not revisions:
            raise Unusable("--database-url: there are no Alembic revisions to run")
        try_out(report, revisions, args.database_url)
    second_opinion(report, state, [m for m in chain if "sql" in m.flags and not m.broken])


def run_revisions(mode: str, *words: str) -> dict[str, Any]:
    """What `_run_revisions.py` answers, in a process of its own."""
    need("alembic", "alembic>=1.13,<2")
    command = [sys.executable, str(Path(__file__).with_name("_run_revisions.py")), mode, *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=600)
        return json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise NotChecked(f"the revisions could not be run: {' '.join(str(error).split())[:200]}") from None


def render(pglast: Any, report: Report, revisions: list[Migration], used: dict[str, str] | None) -> None:
    """The same rules over what revisions render to. A rule that a file has broken already is not told again: its place is better."""
    made = run_revisions("render", *(str(m.path) for m in revisions))
    unread = [m.path.name for m in revisions if "error" in made[str(m.path)]]
    if unread:
        report.partly(f"{len(unread)} revision(s) could not be rendered, as they ask the database: {', '.join(unread[:3])}")
    again = Report(TOOL)
    state = State(again, used)
    for migration in revisions:
        text = made[str(migration.path)].get("sql")
        copy = Migration(migration.path, revision=migration.revision, flags=migration.flags)
        try:
            copy.ops = from_sql(pglast, text, 1) if text else migration.ops
        except pglast.parser.ParseError:
            copy.ops = migration.ops
        for op in copy.ops if text else ():
            op.line = migration.upgrade_line
        state.apply(copy)
    told = {(f.path, f.rule_id) for f in report.findings}
    for f in again.findings:
        if (f.path, f.rule_id) not in told:
            told.add((f.path, f.rule_id))
            report.add(f.rule_id, f.path, f.line, f"{f.message} (rendered)", severity=f.severity)
    report.engines.append("alembic (rendered)")


def try_out(report: Report, revisions: list[Migration], url: str) -> None:
    """The chain on a live server, in a database that is made for it and dropped whatever happens."""
    sqlalchemy: Any = need("sqlalchemy", "SQLAlchemy>=2,<3")
    name = f"skill_scratch_{os.getpid()}"
    try:
        target = sqlalchemy.engine.make_url(url)
        engine = sqlalchemy.create_engine(target, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 5})
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    except Exception as error:  # any driver's own kinds, and a driver that is not there
        raise NotChecked(f"no scratch database: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from None
    try:
        scratch = target.set(database=name).render_as_string(hide_password=False)
        told = run_revisions("try", scratch, *(str(m.path) for m in revisions))
    finally:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()
    report.engines.append("alembic on PostgreSQL")
    places = {str(m.path): m for m in revisions}
    if "failed" in told:
        at = places[told["failed"]]
        report.add("MIG023", at.path, at.upgrade_line, f"{told['direction']}() fails: {told['error']}")
    elif told["changed"]:
        report.add(
            "MIG024", revisions[-1].path, revisions[-1].upgrade_line, f"different afterwards: {'; '.join(told['changed'][:5])}."
        )


def second_opinion(report: Report, state: State, chain: list[Migration]) -> None:
    """What squawk finds in SQL files, on lines where this script has not found the same."""
    paths = {str(m.path.resolve()): m.path for m in chain}
    told = {(f.path, f.line, f.rule_id) for f in report.findings}
    for hit in squawk(report, paths.values()):
        path, (rule, severity) = paths.get(hit["file"]), SQUAWK.get(hit["rule_name"], ("", ""))
        if path is None or not rule:
            continue
        line = first_line(report, path, hit["line"])
        # Of what this script has judged at that very statement, its word holds: it knows tables, sources and transactions.
        if (shown(path), line, rule) in told or (str(path), line, rule) in state.judged:
            continue
        told.add((shown(path), line, rule))
        report.add(rule, path, line, f"{hit['message']} ({hit['rule_name']})", fix=hit["help"] or None, severity=severity)


def first_line(report: Report, path: Path, index: int) -> int:
    """Squawk counts from 0, and begins a statement at the comment above it."""
    lines = report.lines(shown(path))
    while index < len(lines) - 1 and (not lines[index].strip() or lines[index].lstrip().startswith("--")):
        index += 1
    return index + 1


def read(pglast: Any, report: Report, path: Path) -> Iterable[Migration]:
    text = report.read(path)
    if text is None:
        return
    if path.suffix == ".sql":
        if not text.strip():
            report.skip(path, "empty")
            return
        report.scanned += 1
        migration = Migration(path, flags={"sql"})
        try:
            migration.ops = from_sql(pglast, text)
        except pglast.parser.ParseError as error:
            place = error.location if isinstance(getattr(error, "location", None), int) else 0
            migration.broken.append((1 + text.encode()[:place].count(b"\n"), str(error).splitlines()[0], True))
        yield migration
        return
    try:
        module = Module(path, text, ast.parse(text), path.stem)
    except (SyntaxError, ValueError, RecursionError) as error:
        report.skip(path, f"not Python 3: {error}")
        return
    report.scanned += 1
    yield from_revision(pglast, module)


def names_in(report: Report, folders: list[str]) -> dict[str, str]:
    """Identifiers and whole-string constants of the application, each with a place that uses it."""
    found: dict[str, str] = {}
    for path in files(report, folders, ["*.py"], ["migrations", "versions", "alembic"]):
        text = report.read(path)
        if text is None:
            continue
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError) as error:
            report.skip(path, f"not Python 3: {error}")
            continue
        for node in ast.walk(tree):
            name = (
                node.attr
                if isinstance(node, ast.Attribute)
                else node.id
                if isinstance(node, ast.Name)
                else node.value
                if isinstance(node, ast.Constant)
                else None
            )
            if isinstance(name, str) and name.isidentifier():
                found.setdefault(name, f"{path}:{node.lineno}")  # type: ignore[attr-defined]
    return found


def ordered(report: Report, chain: list[Migration]) -> list[Migration]:
    """Revisions from the base upwards; SQL files in the order of their names."""
    revisions = {m.revision: m for m in chain if m.revision}
    seen: dict[str, Path] = {}
    for migration in chain:
        if migration.revision and migration.revision in seen:
            report.add("MIG014", migration.path, 1, f"revision {migration.revision} is also {seen[migration.revision].name}.")
        elif migration.revision:
            seen[migration.revision] = migration.path
    if len(revisions) > 1:
        parents = {p for m in revisions.values() for p in m.parents}
        for migration in revisions.values():
            for parent in migration.parents:
                if parent not in revisions:
                    report.add("MIG014", migration.path, 1, f"down_revision {parent} does not exist.")
        heads = [m for m in revisions.values() if m.revision not in parents]
        if len(heads) > 1:
            for head in heads:
                report.add(
                    "MIG014", head.path, 1, f"one of {len(heads)} heads: {', '.join(sorted(str(h.revision) for h in heads))}."
                )
    done: list[Migration] = []
    waiting = [m for m in chain if m.revision]
    while waiting:
        ready = [m for m in waiting if all(p not in revisions or revisions[p] in done for p in m.parents)]
        if not ready:
            raise Unusable("the revisions form a cycle: " + ", ".join(sorted(str(m.revision) for m in waiting)))
        done += ready
        waiting = [m for m in waiting if m not in ready]
    return done + [m for m in chain if not m.revision]


JUDGES = {"create_index": "MIG005", "add_column": "MIG006", "add_fk": "MIG007", "add_check": "MIG007", "alter_type": "MIG008", "detach": "MIG012",
          "drop_column": "MIG009", "drop_table": "MIG009", "rename_column": "MIG009", "rename_table": "MIG009", "alter_enum": "MIG019"}  # fmt: skip


class State:
    """The schema as it stands after each migration, as far as the chain tells."""

    def __init__(self, report: Report, used: dict[str, str] | None) -> None:
        self.report, self.used = report, used
        self.columns: dict[tuple[str, str], Column] = {}
        self.indexes: dict[str, tuple[Path, Op]] = {}
        self.foreign: set[tuple[str, str]] = set()
        self.queries: list[tuple[Path, Op]] = []
        self.judged: set[tuple[str, int, str]] = set()  # where this script has looked, whatever it found
        self.own_data = False  # whether the migration at hand reads or changes rows by itself
        self.added: set[tuple[str, str]] = set()  # columns of the migration at hand

    def apply(self, migration: Migration) -> None:
        report, path = self.report, migration.path
        for line, why, certain in migration.broken:
            report.add(
                "MIG018", path, line, f"PostgreSQL cannot parse this SQL: {why}", severity="error" if certain else "warning"
            )
        for line in migration.formatted:
            report.add("MIG017", path, line)
        fresh: set[str] = set()
        self.added.clear()
        in_transaction = migration.revision is not None
        warned = False
        self.own_data = "data" in migration.flags
        changes = [op for op in migration.ops if op.kind != "filter"]
        if migration.downgrade_empty and changes:
            report.add("MIG015", path, changes[0].line)
        for op in migration.ops:
            if op.kind in ("begin", "commit"):
                in_transaction = op.kind == "begin"
            if op.kind == "lock_timeout":
                warned = True
            live = bool(op.table) and op.table not in fresh
            if live and op.kind in LOCKING and not warned:
                warned = True
                report.add("MIG011", path, op.line, f"{op.table} is altered without lock_timeout.")
            self.one(path, op, live, in_transaction and "autocommit" not in op.flags)
            if op.kind == "create_table":
                fresh.add(op.table)

    def one(self, path: Path, op: Op, live: bool, in_transaction: bool) -> None:
        report = self.report
        if op.kind in JUDGES:
            self.judged.add((str(path), op.line, JUDGES[op.kind]))
        for column in op.columns:
            self.columns[op.table, column.name] = column
            if column.type == "json":
                report.add(
                    "MIG001",
                    path,
                    op.line,
                    f"{op.table}.{column.name} is json.",
                    severity="warning" if column.generic_json else None,
                )
            if column.foreign or f"fk:{column.name}" in op.flags:
                self.foreign.add((op.table, column.name))
        match op.kind:
            case "create_table":
                self.create(path, op)
            case "add_column" if live:
                column = op.columns[0]
                self.added.add((op.table, column.name))
                if not column.nullable and column.default is None:
                    report.add(
                        "MIG006",
                        path,
                        op.line,
                        f"{op.table}.{column.name} is NOT NULL and has no default: it fails on a table with rows.",
                        severity="warning" if self.own_data else None,  # the revision may have emptied it
                    )
                if column.default == "volatile":
                    report.add(
                        "MIG008",
                        path,
                        op.line,
                        f"the default of {op.table}.{column.name} is computed for each row: the table is rewritten.",
                    )
            case "create_index":
                self.index(path, op, live, in_transaction)
            case "drop_index":
                dropped = self.indexes.pop(op.detail, None)
                table, first = (dropped[1].table, dropped[1].names[:1]) if dropped else ("", [])
                others = [i for _, i in self.indexes.values() if i.table == table and i.names[:1] == first]
                if first and (table, first[0]) in self.foreign and not others:
                    report.add("MIG020", path, op.line, f"{op.detail} is the only index on {table}.{first[0]}, a foreign key.")
            case "add_fk" | "add_check":
                self.foreign |= {(op.table, n) for n in op.names} if op.kind == "add_fk" else set()
                if live and "not_valid" not in op.flags:
                    empty = bool(op.names) and all((op.table, n) in self.added for n in op.names)
                    what = "whose column is new and empty, is still scanned" if empty else "is scanned"
                    report.add(
                        "MIG007",
                        path,
                        op.line,
                        f"{op.table} {what} under a lock to validate the constraint.",
                        severity="warning" if empty else None,
                    )
            case "alter_type" if live and "widening" not in op.flags:
                if op.detail in ("json", "generic json"):
                    report.add("MIG001", path, op.line, f"{op.table}.{op.names[0]} becomes json.")
                known = self.columns.get((op.table, op.names[0]))
                if known is not None and known.type == op.detail:
                    return  # another precision of the same type
                report.add(
                    "MIG008",
                    path,
                    op.line,
                    f"{op.table}.{op.names[0]} changes its type to {op.detail or 'another'}.",
                    severity=None if known is not None and op.detail not in ("text", "varchar") else "warning",
                )
            case "set_not_null" if live:
                report.add(
                    "MIG006",
                    path,
                    op.line,
                    f"SET NOT NULL on {op.table}.{op.names[0]} scans the table under an exclusive lock.",
                    severity="warning",
                )
            case "drop_column" | "drop_table" | "rename_column" | "rename_table" if live:
                self.dropped(path, op)
            case "update" | "delete" if live and "where" not in op.flags:
                report.add(
                    "MIG010",
                    path,
                    op.line,
                    f"{op.kind.upper()} of all rows of {op.table}.",
                    severity="error" if op.kind == "delete" else "warning",
                )
            case "truncate" if live:
                report.add("MIG010", path, op.line, f"TRUNCATE {op.table}.")
            case "vacuum_full":
                report.add(
                    "MIG010",
                    path,
                    op.line,
                    "VACUUM FULL rewrites the table under an exclusive lock.",
                    fix="Use pg_repack, or plain VACUUM.",
                )
            case "detach" if "concurrently" not in op.flags:
                report.add(
                    "MIG012",
                    path,
                    op.line,
                    f"DETACH PARTITION locks {op.table} for all readers.",
                    fix="DETACH PARTITION ... CONCURRENTLY.",
                )
            case "alter_enum" if in_transaction:
                report.add("MIG019", path, op.line, f"a value is added to {op.detail} in a transaction.")
            case "filter":
                self.queries.append((path, op))

    def create(self, path: Path, op: Op) -> None:
        for key in sorted(f[10:] for f in op.flags if f.startswith("partition:")):
            lacking = [f"primary key ({', '.join(op.names)})"] if op.names and key not in op.names else []
            lacking += [f"unique ({f[7:]})" for f in sorted(op.flags) if f.startswith("unique:") and key not in f[7:].split(",")]
            for what in lacking:
                self.report.add(
                    "MIG012", path, op.line, f"{op.table} is partitioned by {key}, which its {what} lacks: PostgreSQL refuses it."
                )
        schema, _, name = op.table.rpartition(".")
        if (schema in ("features", "feature_store") or name.endswith("_features")) and op.columns and "child" not in op.flags:
            if not EVENT & {c.name for c in op.columns}:
                self.report.add("MIG013", path, op.line, f"{op.table} has no {' or '.join(sorted(EVENT)[:1])} column.")

    def index(self, path: Path, op: Op, live: bool, in_transaction: bool) -> None:
        report = self.report
        self.indexes[op.detail or f"{op.table}:{op.line}"] = (path, op)
        concurrent = "concurrently" in op.flags
        if live and not concurrent:
            report.add("MIG005", path, op.line, f"writers of {op.table} wait while {op.detail or 'the index'} is built.")
        elif concurrent and in_transaction:
            report.add("MIG005", path, op.line, "CREATE INDEX CONCURRENTLY cannot run inside a transaction.")
        for name in op.names:
            column = self.columns.get((op.table, name))
            if column and column.type == "jsonb" and "using:btree" in op.flags:
                report.add("MIG003", path, op.line, f"{op.table}.{name} is jsonb and indexed by btree.")

    def dropped(self, path: Path, op: Op) -> None:
        name = op.names[0] if op.names else op.table.rpartition(".")[2]
        place = (self.used or {}).get(name)
        verb = "renamed" if op.kind.startswith("rename") else "dropped"
        if place:
            self.report.add("MIG009", path, op.line, f"{name} is {verb} and still used at {place}.")
        elif self.used is None:
            self.report.add(
                "MIG009",
                path,
                op.line,
                f"{name} is {verb}: instances of the old release fail until they are replaced.",
                severity="warning",
            )

    def finish(self, once: int) -> None:
        """Compare filters with indexes; the first `once` of the filters are of the migrations' own statements."""
        gin = [(p, i) for p, i in self.indexes.values() if "using:gin" in i.flags]
        told: set[tuple[str, str]] = set()
        operators: dict[str, set[str]] = {}
        for number, (path, op) in enumerate(self.queries):
            name = op.names[0]
            operators.setdefault(name, set()).add(op.detail)
            known = [c for (_, column), c in self.columns.items() if column == name and c.type == "jsonb"]
            if not known or (name, op.detail) in told:
                continue
            if op.detail == "->>":
                key = next((f[4:] for f in op.flags if f.startswith("key:")), "")
                if not any(f"{name}->>{key}" in i.names for _, i in self.indexes.values()):
                    told.add((name, op.detail))
                    self.report.add("MIG016", path, op.line, f"{name} ->> '{key}' is filtered and has no expression index.")
            elif not any(name in i.names for _, i in gin):
                told.add((name, op.detail))
                self.report.add(
                    "MIG002",
                    path,
                    op.line,
                    f"{name} is filtered by {op.detail} and has no GIN index.",
                    severity="warning" if number < once else None,
                )
        for path, index in gin:
            if any(f.startswith("opclass:") for f in index.flags):
                continue
            if any(operators.get(n, set()) - {"->>"} == {"@>"} for n in index.names):
                self.report.add("MIG004", path, index.line, f"{', '.join(index.names)} is only ever filtered by @>.")


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
