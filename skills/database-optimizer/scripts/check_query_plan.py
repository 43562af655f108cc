# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.2,<4", "pglast>=8.8,<9"]
# ///
"""Runs queries on a live PostgreSQL under EXPLAIN ANALYZE, read only and rolled back, and says what is wrong with their plans."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _report import NotChecked, Report, Rule, Tool, Unusable, files, main, need

RULES = (
    Rule("QPL001", "warning", "a sequential scan reads many rows to keep few", "An index for the filter: btree on the expression for ->>, GIN for @>."),
    Rule("QPL002", "warning", "the planner's estimate is far off", "ANALYZE; extended statistics for columns that go together; an expression index brings statistics of the expression."),
    Rule("QPL003", "warning", "a bitmap scan went lossy, and rechecks whole pages", "Raise work_mem for this query, or make the filter more selective."),
    Rule("QPL004", "warning", "a sort or hash went to disk", "Raise work_mem for this query, or give it an index in the order wanted."),
    Rule("QPL005", "warning", "a nested loop repeats its inner side very often", "An index on the inner join key, or statistics that let the planner choose a hash join."),
    Rule("QPL006", "error", "the plan does not use the index that was declared", "Compare the query's expression and types with the index's, letter by letter."),
    Rule("QPL007", "error", "the query takes longer than allowed", "Begin with the node that takes the most time of its own; it is named."),
    Rule("QPL008", "error", "the query cannot be explained", "Give one SELECT a file or --query, with values by --param."),
)  # fmt: skip
TOOL = Tool("check_query_plan", "1.0.0", __doc__ or "", RULES)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", metavar="query.sql", help="files, each with SELECT statements")
    parser.add_argument("--dsn", required=True, metavar="URL", help="the database, best a copy of production's size")
    parser.add_argument("--query", action="append", default=[], metavar="SQL", help="one SELECT (may be given again)")
    parser.add_argument("--param", action="append", default=[], metavar="VALUE", help="the value of $1, $2, ... in order")
    parser.add_argument("--expect-index", action="append", default=[], metavar="NAME", help="an index that the plan must use")
    parser.add_argument("--max-ms", type=float, metavar="MS", help="longest execution time")
    parser.add_argument(
        "--removed-rows", type=int, default=10_000, help="rows removed by a filter that are too many (default: 10000)"
    )
    parser.add_argument(
        "--loops", type=int, default=10_000, help="repetitions of an inner side that are too many (default: 10000)"
    )
    parser.add_argument("--timeout", type=float, default=30, metavar="SECONDS", help="for each query (default: 30)")


def check(args: argparse.Namespace, report: Report) -> None:
    psycopg: Any = need("psycopg", "psycopg[binary]>=3.2,<4")
    pglast: Any = need("pglast", "pglast>=8.8,<9")
    if not args.paths and not args.query:
        raise Unusable("no query: give files or --query")
    queries = [("query", 1, q) for q in args.query]
    for path in files(report, args.paths, ["*.sql"]):
        text = report.read(path)
        if text is not None and text.strip():
            queries += [(str(path), line, sql) for line, sql in statements(pglast, report, path, text)]
        elif text is not None:
            report.skip(path, "empty")
    try:
        connection = psycopg.connect(args.dsn, connect_timeout=5, autocommit=True, application_name="check_query_plan")
    except psycopg.Error as error:
        raise NotChecked(f"no connection: {' '.join(str(error).split())}") from None
    report.engines.append(f"PostgreSQL {connection.info.server_version // 10000}")
    report.data["plans"] = []
    with connection:
        connection.execute(f"SET statement_timeout = {int(args.timeout * 1000)}")
        connection.execute("SET lock_timeout = '1s'")
        for path, line, sql in queries:
            report.scanned += 1
            plan = explained(psycopg, pglast, connection, report, path, line, sql, args.param)
            if plan is not None:
                judge(report, args, path, line, plan)


def statements(pglast: Any, report: Report, path: Path, text: str) -> Iterator[tuple[int, str]]:
    try:
        pieces = pglast.split(text, only_slices=True)
    except pglast.parser.ParseError as error:
        report.scanned += 1
        report.add("QPL008", path, 1, f"not SQL: {str(error).splitlines()[0]}")
        return
    for piece in pieces:
        raw = text[piece]
        yield 1 + text[: piece.start + len(raw) - len(raw.lstrip())].count("\n"), raw.strip()


def explained(
    psycopg: Any, pglast: Any, connection: Any, report: Report, path: str, line: int, sql: str, values: list[str]
) -> dict[str, Any] | None:
    try:
        parsed = pglast.parse_sql(sql)
    except pglast.parser.ParseError as error:
        report.add("QPL008", path, line, f"not SQL: {str(error).splitlines()[0]}")
        return None
    if len(parsed) != 1 or type(parsed[0].stmt).__name__ != "SelectStmt" or parsed[0].stmt.intoClause is not None:
        report.add("QPL008", path, line, "only one SELECT at a time is run: anything else would change data.")
        return None
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET TRANSACTION READ ONLY")
            names = ", ".join(literal(v) for v in values)
            if values:
                connection.execute(f"PREPARE check_query_plan AS {sql}")
                run = f"EXECUTE check_query_plan({names})"
            else:
                run = sql
            row = connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {run}").fetchone()
            if values:
                connection.execute("DEALLOCATE check_query_plan")
    except psycopg.errors.QueryCanceled:
        report.add("QPL007", path, line, "no end within the timeout.")
        return None
    except psycopg.Error as error:
        report.add("QPL008", path, line, str(error).splitlines()[0])
        return None
    found = row[0]
    return (json.loads(found) if isinstance(found, str) else found)[0]


def literal(value: str) -> str:
    return "NULL" if value == "" else "'" + value.replace("'", "''") + "'"


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


def own_time(node: dict[str, Any]) -> float:
    total = node.get("Actual Total Time", 0) * node.get("Actual Loops", 1)
    return total - sum(p.get("Actual Total Time", 0) * p.get("Actual Loops", 1) for p in node.get("Plans", []))


def judge(report: Report, args: argparse.Namespace, path: str, line: int, result: dict[str, Any]) -> None:
    top = result["Plan"]
    every = list(nodes(top))
    slowest = max(every, key=own_time)
    report.data["plans"].append(
        {
            "path": path,
            "line": line,
            "ms": result["Execution Time"],
            "planning_ms": result["Planning Time"],
            "indexes": sorted({n["Index Name"] for n in every if "Index Name" in n}),
            "slowest": name(slowest),
        }
    )
    if args.max_ms is not None and result["Execution Time"] > args.max_ms:
        report.add(
            "QPL007", path, line, f"{result['Execution Time']:.1f} ms; {own_time(slowest):.1f} ms of them in {name(slowest)}."
        )
    used = {n.get("Index Name") for n in every}
    for wanted in args.expect_index:
        if wanted not in used:
            report.add(
                "QPL006", path, line, f"{wanted} is not in the plan; used: {', '.join(sorted(u for u in used if u)) or 'none'}."
            )
    for node in every:
        loops = node.get("Actual Loops", 1)
        removed = node.get("Rows Removed by Filter", 0) * loops
        if (
            node["Node Type"] in ("Seq Scan", "Parallel Seq Scan")
            and removed > args.removed_rows
            and removed > 10 * node.get("Actual Rows", 0) * loops
        ):
            report.add("QPL001", path, line, f"{name(node)} removes {removed} rows by {node.get('Filter')}.")
        actual, guess = node.get("Actual Rows", 0), node.get("Plan Rows", 0)
        if (loops and max(actual, guess) >= 1_000 and max(actual, 1) / max(guess, 1) > 10) or (
            loops and guess >= 1_000 and guess / max(actual, 1) > 10 and "Limit" not in [n["Node Type"] for n in every]
        ):
            report.add("QPL002", path, line, f"{name(node)}: {guess} rows expected, {actual} came.")
        if node.get("Lossy Heap Blocks", 0) > 0:
            report.add("QPL003", path, line, f"{name(node)}: {node['Lossy Heap Blocks']} lossy pages.")
        if node.get("Sort Space Type") == "Disk" or node.get("Hash Batches", 1) > 1 or node.get("HashAgg Batches", 1) > 1:
            report.add("QPL004", path, line, f"{name(node)} went to disk.")
        if node["Node Type"] == "Nested Loop" and len(node.get("Plans", [])) == 2:
            inner = node["Plans"][1]
            if inner.get("Actual Loops", 0) > args.loops and inner["Node Type"] not in ("Memoize", "Materialize"):
                report.add("QPL005", path, line, f"{name(inner)} is repeated {inner['Actual Loops']} times.")


def name(node: dict[str, Any]) -> str:
    return (
        node["Node Type"]
        + (f" on {node['Relation Name']}" if "Relation Name" in node else "")
        + (f" by {node['Index Name']}" if "Index Name" in node else "")
    )


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
