# /// script
# requires-python = ">=3.11"
# dependencies = ["pglast>=8.8,<9", "psycopg[binary]>=3.2,<4"]
# ///
"""Checks schemas before a database sees them: feature views (JSON, cenote's own format) and PostgreSQL DDL (SQL)."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import _views as views
from _tables import Index, Table, read

from _report import NotChecked, Report, Rule, Tool, files, main, need

RULES = (
    Rule("SCH001", "error", "not a feature view", "Begin from assets/schema_template.json; assets/schema.schema.json describes each field."),
    Rule("SCH002", "error", "a name that PostgreSQL or the store does not take", "Lower-case letters, digits and '_'; at most 40 for a view and 63 bytes for a column."),
    Rule("SCH003", "error", "an unknown type", "One of bool, i16, i32, i64, f32, f64, text, timestamp."),
    Rule("SCH004", "error", "no key, no feature, or a key that cannot name an entity", "Key by an integer, text, bool or timestamp."),
    Rule("SCH005", "error", "levels that contradict the column", "Levels are distinct texts of a text feature."),
    Rule("SCH006", "error", "a version or ttl out of range", "Versions begin at 1; ttl_seconds is a whole number of at least 1."),
    Rule("SCH007", "error", "two views of one name and version differ", "Give the changed one the next version."),
    Rule("SCH008", "warning", "nobody is named as owner, or nothing says what the view is", "Fill owner and description: someone will ask at three in the morning."),
    Rule("SCH009", "warning", "a column that looks personal and does not say so", "Say PII in its description, and restrict its readers; or drop it from the features."),
    Rule("SCH010", "warning", "a name that must be quoted in SQL", "Use lower-case letters, digits and '_', and no reserved word."),
    Rule("SCH011", "warning", "a 16 or 32-bit id runs out", "Use i64 (bigint): widening a key later rewrites each table that holds it."),
    Rule("SCH012", "error", "a default that its column cannot hold", "Give a JSON boolean, number or text of the feature's type, and one of its levels where it has some."),
    Rule("SCH020", "error", "PostgreSQL cannot parse this SQL", "Mend it at the place named."),
    Rule("SCH021", "warning", "json where jsonb is meant", "Use jsonb."),
    Rule("SCH022", "warning", "timestamp without time zone", "Use timestamptz."),
    Rule("SCH023", "warning", "a table without primary key", "Give it one: replication, upserts and duplicates all ask for it."),
    Rule("SCH024", "error", "a foreign key to what is not there, or not unique, or of another type", "Reference the primary key, with the same type."),
    Rule("SCH025", "error", "the partition key is not in the primary key or a unique constraint", "Put it into each of them: PostgreSQL refuses the table otherwise."),
    Rule("SCH026", "error", "the partition key is not a column", "Partition by a column of the table."),
    Rule("SCH027", "error", "an index on a type that its method or operator class does not take", "GIN is for jsonb, arrays and tsvector; jsonb_path_ops for jsonb only."),
    Rule("SCH028", "warning", "a foreign key without an index on its columns", "CREATE INDEX on the referencing columns: deletes of the parent scan this table without it."),
    Rule("SCH029", "warning", "an index that another one already serves", "Drop the shorter one: each index is paid for at every write."),
    Rule("SCH030", "warning", "a type that its documentation advises against", "char(n): text; money: numeric; serial: identity; float for money: numeric."),
    Rule("SCH031", "warning", "a 32-bit key", "Use bigint."),
    Rule("SCH032", "error", "a key or index names a column that is not there", "Mend the name."),
    Rule("SCH033", "warning", "a partitioned table without any partition refuses every row", "Create the first partitions, and who creates the next."),
    Rule("SCH034", "info", "a table without comment", "COMMENT ON TABLE ... says what a row is."),
    Rule("SCH035", "error", "a btree index on a jsonb column compares whole documents", "GIN, or a btree on the expression (column ->> 'key')."),
    Rule("SCH037", "error", "tables reference each other, and no reference waits for the commit", "DEFERRABLE INITIALLY DEFERRED on one of them: no first row can be written otherwise."),
    Rule("SCH038", "warning", "a table of features without the time of its event and of its writing", "event_ts timestamptz NOT NULL and written_at timestamptz NOT NULL DEFAULT now(): training joins by both."),
    Rule("SCH036", "error", "PostgreSQL refuses the schema", "Read its message; nothing was kept of the attempt."),
)  # fmt: skip
TOOL = Tool("validate_schema", "1.0.0", __doc__ or "", RULES)
KINDS = {
    "form": "SCH001",
    "name": "SCH002",
    "type": "SCH003",
    "key": "SCH004",
    "levels": "SCH005",
    "default": "SCH012",
    "limits": "SCH006",
}
PERSONAL = (
    "email",
    "phone",
    "ssn",
    "passport",
    "birth",
    "surname",
    "first_name",
    "last_name",
    "full_name",
    "address",
    "iban",
    "card_number",
    "ip_address",
)
WRITTEN = frozenset({"written_at", "created_at", "created_time", "created_timestamp", "ingested_at"})
MONEY = ("price", "amount", "balance", "salary", "cost")
GIN_OPCLASSES = {"jsonb_ops": "jsonb", "jsonb_path_ops": "jsonb", "array_ops": "[]", "tsvector_ops": "tsvector"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="schema.json", help="view files (.json), DDL (.sql), or folders of both")
    parser.add_argument(
        "--dsn", metavar="URL", help="also try each schema on this PostgreSQL, in a transaction that is rolled back"
    )


def check(args: argparse.Namespace, report: Report) -> None:
    pglast: Any = need("pglast", "pglast>=8.8,<9")
    keywords: Any = need("pglast.keywords", "pglast>=8.8,<9")
    reserved = frozenset(keywords.RESERVED_KEYWORDS) | frozenset(keywords.TYPE_FUNC_NAME_KEYWORDS)
    report.engines.append(f"pglast {pglast.__version__}")
    seen: dict[tuple[str, int], tuple[Path, str]] = {}
    for path in files(report, args.paths, ["*.json", "*.sql"]):
        text = report.read(path)
        if text is None:
            continue
        if not text.strip():
            report.skip(path, "empty")
        elif path.suffix == ".sql":
            report.scanned += 1
            sql(pglast, report, path, text, args.dsn)
        else:
            document(report, path, text, reserved, seen, args.dsn)


def document(
    report: Report,
    path: Path,
    text: str,
    reserved: frozenset[str],
    seen: dict[tuple[str, int], tuple[Path, str]],
    dsn: str | None,
) -> None:
    try:
        found = views.read(text)
    except (ValueError, RecursionError) as error:
        report.skip(path, f"not JSON: {error}")
        return
    if not found:
        report.skip(path, "an empty list of views")
        return
    report.scanned += 1
    for view in found:
        refused = list(views.problems(view))
        for problem in refused:
            report.add(KINDS[problem.kind], path, line_of(text, problem.where), problem.message)
        if not isinstance(view, dict):
            continue
        if not view.get("owner") or not view.get("description"):
            report.add(
                "SCH008",
                path,
                line_of(text, "name"),
                f"{view.get('name')} lacks {' and '.join(f for f in ('owner', 'description') if not view.get(f))}.",
            )
        for part, column in views.columns(view):
            name = column.get("name")
            if not isinstance(name, str) or not name:
                continue
            line = line_of(text, name)
            if any(word in name.lower() for word in PERSONAL) and "pii" not in str(column.get("description", "")).lower():
                report.add("SCH009", path, line, f"column {name!r} looks personal.")
            if name in reserved or not (
                name.replace("_", "a").isalnum() and name == name.lower() and name.isascii() and not name[0].isdigit()
            ):
                report.add("SCH010", path, line, f"column {name!r} must be quoted in SQL.")
            if part == "keys" and column.get("type") in ("i16", "i32") and name.endswith("_id"):
                report.add("SCH011", path, line, f"key {name!r} is {column['type']}.")
        if refused:
            continue
        key = (view["name"], view.get("version", 1))
        if key in seen and seen[key][1] != views.canonical(view):
            report.add(
                "SCH007", path, line_of(text, "name"), f"{key[0]} version {key[1]} is also in {seen[key][0].name}, and differs."
            )
        seen.setdefault(key, (path, views.canonical(view)))
        if dsn:
            tried(report, path, ";\n".join([*views.catalogue("cenote_trial"), *views.statements(view, "cenote_trial")]), dsn)


def line_of(text: str, word: str) -> int:
    """The line where a name or field stands in the JSON text; 1 where it does not."""
    quoted = json.dumps(word.partition("[")[0], ensure_ascii=False)
    place = text.find(quoted)
    return 1 + text[:place].count("\n") if place >= 0 else 1


def sql(pglast: Any, report: Report, path: Path, text: str, dsn: str | None) -> None:
    try:
        tables = read(pglast, text)
    except pglast.parser.ParseError as error:
        place = error.location if isinstance(getattr(error, "location", None), int) else 0
        report.add(
            "SCH020", path, 1 + text.encode()[:place].count(b"\n"), f"PostgreSQL cannot parse this: {str(error).splitlines()[0]}"
        )
        return
    for table in tables.values():
        columns(report, path, table)
        keys(report, path, table, tables)
        for index in table.indexes:
            indexes(report, path, table, index)
        redundant(report, path, table)
        if is_features(table) and not (
            {"event_ts", "event_time", "event_timestamp"} & set(table.columns) and WRITTEN & set(table.columns)
        ):
            report.add(
                "SCH038", path, table.line, f"{table.name} tells not when its rows held true, or not when they came to be known."
            )
        if not table.commented and not table.child:
            report.add("SCH034", path, table.line, f"{table.name} has no comment.")
    circles(report, path, tables)
    if dsn:
        tried(report, path, text, dsn)


def is_features(table: Table) -> bool:
    schema, _, name = table.name.rpartition(".")
    return not table.child and (schema in ("features", "feature_store") or name.endswith(("_features", "_feature")))


def circles(report: Report, path: Path, tables: dict[str, Table]) -> None:
    """A circle of foreign keys, each checked at once and on columns that may not be NULL, lets no first row in."""
    binding = {
        name: {f.target: f for f in t.foreign if not f.deferrable and f.target != name and not any(t.columns.get(c, ("", 0, True))[2] for c in f.columns)}
        for name, t in tables.items()
    }  # fmt: skip
    for start in tables:
        todo, seen = [start], set()
        while todo:
            at = todo.pop()
            for target in binding.get(at, {}):
                if target == start:
                    report.add("SCH037", path, binding[at][target].line, f"{at} needs a row of {start}, which needs one of {at}.")
                elif target not in seen:
                    seen.add(target)
                    todo.append(target)


def columns(report: Report, path: Path, table: Table) -> None:
    for name, (kind, line, _) in table.columns.items():
        what = f"{table.name}.{name}"
        if kind == "json":
            report.add("SCH021", path, line, f"{what} is json.")
        elif kind == "timestamp":
            report.add("SCH022", path, line, f"{what} is a timestamp without time zone.")
        elif kind in ("bpchar", "money") or kind.endswith("serial"):
            report.add("SCH030", path, line, f"{what} is {'char(n)' if kind == 'bpchar' else kind}.")
        elif kind in ("float4", "float8") and name.endswith(MONEY):
            report.add("SCH030", path, line, f"{what} is money in a floating type.")
        if table.primary == [name] and kind in ("int4", "int2", "serial") and name.endswith("id"):
            report.add("SCH031", path, line, f"{what} is a 32-bit key.")


def keys(report: Report, path: Path, table: Table, tables: dict[str, Table]) -> None:
    if table.child:
        return
    if table.primary is None:
        report.add("SCH023", path, table.line, f"{table.name} has no primary key.")
    for name in table.primary or []:
        if name not in table.columns:
            report.add("SCH032", path, table.primary_line, f"the primary key of {table.name} names {name!r}.")
    if table.partition:
        for name in table.partition[1]:
            if name and name not in table.columns:
                report.add("SCH026", path, table.line, f"{table.name} is partitioned by {name!r}.")
                continue
            for group in [*([table.primary] if table.primary else []), *table.uniques]:
                if name and name not in group:
                    report.add("SCH025", path, table.line, f"{table.name}: ({', '.join(group)}) lacks {name!r}.")
        if not table.partitions:
            report.add("SCH033", path, table.line, f"{table.name} has no partition.")
    for foreign in table.foreign:
        target = tables.get(foreign.target)
        missing = [c for c in foreign.columns if c not in table.columns]
        if missing:
            report.add("SCH032", path, foreign.line, f"a foreign key of {table.name} names {missing[0]!r}.")
        elif target is not None:
            wanted = foreign.target_columns or target.primary or []
            if sorted(wanted) != sorted(target.primary or []) and sorted(wanted) not in [sorted(u) for u in target.uniques]:
                report.add("SCH024", path, foreign.line, f"({', '.join(wanted)}) of {target.name} is not unique.")
            elif len(wanted) == len(foreign.columns):
                for own, other in zip(foreign.columns, wanted, strict=True):
                    if plain(table.columns[own][0]) != plain(target.columns.get(other, ("", 0, True))[0]):
                        report.add("SCH024", path, foreign.line, f"{table.name}.{own} and {target.name}.{other} differ in type.")
        leading = [
            table.primary or [],
            *table.uniques,
            *(i.columns for i in table.indexes if not i.partial and i.method == "btree"),
        ]
        if not missing and not any(set(group[: len(foreign.columns)]) == set(foreign.columns) for group in leading):
            report.add("SCH028", path, foreign.line, f"({', '.join(foreign.columns)}) of {table.name} has no index.")


def plain(kind: str) -> str:
    return {"bigserial": "int8", "serial": "int4", "smallserial": "int2", "varchar": "text"}.get(kind, kind)


def indexes(report: Report, path: Path, table: Table, index: Index) -> None:
    for name, opclass in zip(index.columns, index.opclasses, strict=True):
        if not name:
            continue
        if name not in table.columns:
            report.add("SCH032", path, index.line, f"an index of {table.name} names {name!r}.")
            continue
        kind = table.columns[name][0]
        if index.method == "gin":
            wanted = GIN_OPCLASSES.get(opclass)
            plain_types = (
                "text",
                "varchar",
                "int4",
                "int8",
                "int2",
                "float8",
                "float4",
                "bool",
                "timestamptz",
                "timestamp",
                "date",
                "uuid",
                "numeric",
                "json",
            )
            if (wanted and not kind.endswith(wanted)) or (not opclass and kind in plain_types):
                report.add(
                    "SCH027",
                    path,
                    index.line,
                    f"GIN{' with ' + opclass if opclass else ''} on {table.name}.{name}, which is {kind}.",
                )
        elif index.method == "btree" and kind == "jsonb":
            report.add("SCH035", path, index.line, f"{table.name}.{name} is jsonb.")
        elif kind == "json":
            report.add("SCH027", path, index.line, f"{index.method} on {table.name}.{name}, which is json and has no operators.")


def redundant(report: Report, path: Path, table: Table) -> None:
    usable = [i for i in table.indexes if i.method == "btree" and not i.partial and "" not in i.columns and not any(i.opclasses)]
    for index in usable:
        others = [
            table.primary or [],
            *table.uniques,
            *(i.columns for i in usable if i is not index and (len(i.columns) > len(index.columns) or i.line < index.line)),
        ]
        if index.unique:
            others = [o for o in others if o == index.columns and o is not index.columns]
        if any(other[: len(index.columns)] == index.columns for other in others) and not (
            index.unique and others.count(index.columns) < 2
        ):
            report.add(
                "SCH029",
                path,
                index.line,
                f"({', '.join(index.columns)}) of {table.name} is the beginning of another index or key.",
            )


def tried(report: Report, path: Path, statements: str, dsn: str) -> None:
    psycopg: Any = need("psycopg", "psycopg[binary]>=3.2,<4")
    try:
        connection = psycopg.connect(dsn, connect_timeout=5)
    except psycopg.Error as error:
        raise NotChecked(f"no connection: {' '.join(str(error).split())}") from None
    with connection:
        try:
            connection.execute("SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '30s'")
            connection.execute(statements)
        except psycopg.Error as error:
            report.add("SCH036", path, 0, f"PostgreSQL refuses it: {str(error).splitlines()[0]}")
        connection.rollback()


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
