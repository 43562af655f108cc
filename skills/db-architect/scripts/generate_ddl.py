# /// script
# requires-python = ">=3.11"
# dependencies = ["pglast>=8.8,<9"]
# ///
"""Turns feature views (schema JSON) into the SQL that cenote's feature store would apply: same tables, same fingerprints."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import _views as views

from _report import NotChecked, Report, Rule, Tool, Unusable, files, main, need

RULES = (
    Rule("DDL001", "error", "the view would be refused by the store", "Run validate_schema.py on the file and mend what it names."),
    Rule("DDL002", "error", "two views have the same name and version", "Give the changed one the next version: tables of two versions stand side by side."),
)  # fmt: skip
TOOL = Tool("generate_ddl", "1.0.0", __doc__ or "", RULES)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="schema.json", help="view files, or folders of them")
    parser.add_argument(
        "--output", metavar="FILE", help="write the SQL there, whole or not at all (default: stdout, with --format text)"
    )
    parser.add_argument("--schema", default="cenote", help="the PostgreSQL schema of the store (default: cenote)")
    parser.add_argument("--if-not-exists", action="store_true", help="let the SQL be applied twice")
    parser.add_argument("--reader", action="append", default=[], metavar="ROLE", help="grant SELECT to this role")
    parser.add_argument("--writer", action="append", default=[], metavar="ROLE", help="grant SELECT, INSERT, UPDATE to this role")


def check(args: argparse.Namespace, report: Report) -> None:
    if not 1 <= len(args.schema.encode()) <= 63 or "\0" in args.schema:
        raise Unusable("--schema: a name is 1 to 63 bytes without NUL")
    found: dict[tuple[str, int], tuple[Path, dict[str, Any]]] = {}
    for path in files(report, args.paths, ["*.json"]):
        text = report.read(path)
        if text is None:
            continue
        try:
            documents = views.read(text)
        except (ValueError, RecursionError) as error:
            report.skip(path, f"not JSON: {error}")
            continue
        report.scanned += 1
        for view in documents:
            refused = list(views.problems(view))
            for problem in refused:
                report.add("DDL001", path, 0, problem.message)
            if refused:
                continue
            key = (view["name"], view.get("version", 1))
            if key in found and views.canonical(found[key][1]) != views.canonical(view):
                report.add("DDL002", path, 0, f"{key[0]} version {key[1]} is also in {found[key][0]}, and differs.")
            found.setdefault(key, (path, view))
    if report.findings or report.skipped or not found:
        return
    statements = views.catalogue(args.schema)
    for _, (_, view) in sorted(found.items()):
        statements += views.statements(view, args.schema, if_not_exists="IF NOT EXISTS " if args.if_not_exists else "")
        for table in views.tables(view, args.schema):
            statements += [f"GRANT SELECT ON {table} TO {views.identifier(r)}" for r in args.reader]
            statements += [f"GRANT SELECT, INSERT, UPDATE ON {table} TO {views.identifier(w)}" for w in args.writer]
    for role in sorted({*args.reader, *args.writer}):
        statements.insert(1, f"GRANT USAGE ON SCHEMA {views.identifier(args.schema)} TO {views.identifier(role)}")
    sql = "BEGIN;\n\n" + ";\n\n".join(statements) + ";\n\nCOMMIT;\n"
    proven(sql, len(statements) + 2)
    report.engines.append("pglast")
    report.data = {"views": [f"{n}_v{v}" for n, v in sorted(found)], "statements": len(statements), "output": args.output}
    if args.output:
        write(Path(args.output), sql)
    elif args.format == "text":
        sys.stdout.write(sql)
    else:
        report.data["sql"] = sql


def proven(sql: str, count: int) -> None:
    """PostgreSQL's own parser must see exactly the statements that were meant: nothing in a name or comment became SQL."""
    pglast: Any = need("pglast", "pglast>=8.8,<9")
    try:
        parsed = pglast.parse_sql(sql)
    except pglast.parser.ParseError as error:
        raise NotChecked(f"the SQL that was made does not parse, which is a fault of this script: {error}") from None
    if len(parsed) != count:
        raise NotChecked(f"{count} statements were made and {len(parsed)} parsed, which is a fault of this script")


def write(path: Path, sql: str) -> None:
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as out:
            out.write(sql)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as error:
        raise Unusable(f"{path} cannot be written: {error}") from None


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
