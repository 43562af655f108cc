# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.2,<4"]
# ///
"""Asks a live PostgreSQL how it is: GIN pending lists, indexes, vacuum, TOAST, WAL, memory, wraparound, JSONB keys, partitions. Read only."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from typing import Any

from _report import NotChecked, Report, Rule, Tool, main, need

RULES = (
    Rule("PGH001", "warning", "a GIN index has a long pending list, which every search reads", "SELECT gin_clean_pending_list('...'); lower gin_pending_list_limit for it, or fastupdate = off."),
    Rule("PGH002", "warning", "an index that costs writes and serves nobody", "Drop it by DROP INDEX CONCURRENTLY, after a full business cycle of statistics; rebuild an invalid one."),
    Rule("PGH003", "warning", "dead rows or statistics that autovacuum does not keep up with", "VACUUM (ANALYZE) it; lower autovacuum_vacuum_scale_factor for this table."),
    Rule("PGH004", "warning", "most of a table is out of line (TOAST)", "Move the keys that are read into columns; lz4 for the rest; select columns, not *."),
    Rule("PGH005", "warning", "checkpoints are forced by WAL volume, or WAL is not compressed", "Raise max_wal_size until checkpoints come by time; wal_compression = on; checkpoint_completion_target = 0.9."),
    Rule("PGH006", "warning", "memory settings that do not fit the machine or its disks", "shared_buffers a quarter of RAM; work_mem x connections within half of it; random_page_cost 1.1 on SSD."),
    Rule("PGH007", "error", "a sequence or the transaction ids are running out", "bigint for the column; VACUUM FREEZE the oldest tables, and end old transactions and slots."),
    Rule("PGH008", "info", "a JSONB key that is in nearly every row and indexed: a column in disguise", "Make it a generated or ordinary column: smaller, with statistics, and typed."),
    Rule("PGH009", "warning", "partitions: rows in the default one, or no partition for tomorrow", "Create the next ones ahead of time; move strays out before attaching."),
    Rule("PGH010", "warning", "a part of this check could not be made", "Install what is named, or give the role pg_monitor."),
)  # fmt: skip
TOOL = Tool("check_db_health", "1.0.0", __doc__ or "", RULES)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dsn", required=True, metavar="URL", help="the database; a role with pg_monitor sees everything")
    parser.add_argument("--min-size-mb", type=float, default=10, help="pass over smaller tables and indexes (default: 10)")
    parser.add_argument("--pending-tuples", type=int, default=1_000, help="GIN pending entries that are too many (default: 1000)")
    parser.add_argument("--dead-share", type=float, default=0.2, help="share of dead rows that is too large (default: 0.2)")
    parser.add_argument("--ram-mb", type=float, help="memory of the server, for PGH006")
    parser.add_argument("--ahead-days", type=int, default=7, help="how far ahead a time partition must exist (default: 7)")
    parser.add_argument("--timeout", type=float, default=10, metavar="SECONDS", help="for each statement (default: 10)")


class Server:
    """A read-only connection, one short statement at a time; every object that was looked at is counted."""

    def __init__(self, connection: Any, psycopg: Any, report: Report) -> None:
        self.connection, self.psycopg, self.report = connection, psycopg, report

    def rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        with self.connection.transaction(), self.connection.cursor(row_factory=self.psycopg.rows.dict_row) as cursor:
            found = cursor.execute(sql, values or None).fetchall()
        self.report.scanned += len(found)
        return found

    def setting(self, name: str) -> str:
        return str(self.rows("SELECT setting FROM pg_settings WHERE name = %s", name)[0]["setting"])

    def has(self, extension: str, why: str) -> str | None:
        """The schema of an extension, or None after saying what cannot be checked without it."""
        found = self.rows(
            "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = %s", extension
        )
        if not found:
            self.report.add(
                "PGH010",
                "database",
                0,
                f"without the extension {extension}, {why} cannot be checked.",
                fix=f"CREATE EXTENSION {extension}.",
            )
            return None
        return str(found[0]["nspname"])


def check(args: argparse.Namespace, report: Report) -> None:
    psycopg: Any = need("psycopg", "psycopg[binary]>=3.2,<4")
    need("psycopg.rows", "psycopg[binary]>=3.2,<4")
    try:
        connection = psycopg.connect(args.dsn, connect_timeout=5, autocommit=True, application_name="check_db_health")
    except psycopg.Error as error:
        raise NotChecked(f"no connection: {' '.join(str(error).split())}") from None
    with connection:
        connection.execute(f"SET statement_timeout = {int(args.timeout * 1000)}")
        connection.execute("SET default_transaction_read_only = on")
        connection.execute("SET lock_timeout = '1s'")
        server = Server(connection, psycopg, report)
        version = connection.info.server_version // 10000
        report.engines.append(f"PostgreSQL {version}")
        report.targets.append(connection.info.dbname)
        floor = int(args.min_size_mb * (1 << 20))
        for part in (gin, indexes, vacuum, toast, wal, memory, wraparound, json_keys, partitions):
            try:
                part(server, args, floor, version)
            except psycopg.Error as error:
                report.add("PGH010", "database", 0, f"{part.__name__}: {str(error).splitlines()[0]}")


def gin(server: Server, args: argparse.Namespace, floor: int, version: int) -> None:
    found = server.rows(
        "SELECT c.oid::regclass::text AS name, c.oid FROM pg_class c JOIN pg_am a ON a.oid = c.relam "
        "WHERE a.amname = 'gin' AND c.relkind = 'i' AND pg_relation_size(c.oid) >= %s", min(floor, 1 << 20)
    )  # fmt: skip
    if not found:
        return
    schema = server.has("pgstattuple", "the pending lists of GIN indexes")
    for index in found if schema else []:
        state = server.rows(f'SELECT * FROM "{schema}".pgstatginindex(%s)', index["oid"])[0]
        if state["pending_tuples"] > args.pending_tuples:
            server.report.add(
                "PGH001",
                index["name"],
                0,
                f"{index['name']} has {state['pending_tuples']} pending entries in {state['pending_pages']} pages.",
            )


def indexes(server: Server, args: argparse.Namespace, floor: int, version: int) -> None:
    found = server.rows(
        """SELECT i.indexrelid::regclass::text AS name, i.indrelid::regclass::text AS on_table, i.indisvalid AS valid, i.indisunique AS is_unique,
                  s.idx_scan, pg_relation_size(i.indexrelid) AS size,
                  concat_ws('/', i.indrelid, i.indkey, i.indclass, i.indcollation, i.indoption, pg_get_expr(i.indexprs, i.indrelid), pg_get_expr(i.indpred, i.indrelid), c.relam) AS shape,
                  EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid) AS constrained,
                  (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()) AS since
           FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_stat_user_indexes s ON s.indexrelid = i.indexrelid
           WHERE c.relkind = 'i' ORDER BY i.indexrelid"""
    )
    first: dict[str, dict[str, Any]] = {}
    for index in found:
        if not index["valid"]:
            server.report.add(
                "PGH002", index["name"], 0, f"{index['name']} is invalid: a CONCURRENTLY that failed left it.", severity="error"
            )
        elif index["shape"] in first:
            server.report.add("PGH002", index["name"], 0, f"{index['name']} is the same as {first[index['shape']]['name']}.")
        elif index["idx_scan"] == 0 and not index["is_unique"] and not index["constrained"] and index["size"] >= floor:
            since = f" since {index['since']:%Y-%m-%d}" if index["since"] else ""
            server.report.add("PGH002", index["name"], 0, f"{index['name']} ({index['size'] >> 20} MiB) was never used{since}.")
        first.setdefault(index["shape"], index)


def vacuum(server: Server, args: argparse.Namespace, floor: int, version: int) -> None:
    if server.setting("autovacuum") != "on":
        server.report.add("PGH003", "autovacuum", 0, "autovacuum is off.", severity="error")
    for t in server.rows(
        "SELECT s.relid::regclass::text AS name, n_live_tup AS live, n_dead_tup AS dead, greatest(last_analyze, last_autoanalyze) AS analyzed, c.reloptions "
        "FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid"
    ):
        if "autovacuum_enabled=false" in (t["reloptions"] or []) or "autovacuum_enabled=off" in (t["reloptions"] or []):
            server.report.add("PGH003", t["name"], 0, f"autovacuum is switched off for {t['name']}.")
        if t["dead"] > 10_000 and t["dead"] > args.dead_share * (t["live"] + t["dead"]):
            server.report.add("PGH003", t["name"], 0, f"{t['name']} has {t['dead']} dead rows beside {t['live']} live ones.")
        if t["live"] > 10_000 and t["analyzed"] is None:
            server.report.add("PGH003", t["name"], 0, f"{t['name']} ({t['live']} rows) was never analysed: plans are guesses.")


def toast(server: Server, args: argparse.Namespace, floor: int, version: int) -> None:
    for t in server.rows(
        "SELECT oid::regclass::text AS name, pg_relation_size(oid) AS heap, pg_relation_size(reltoastrelid) AS toast FROM pg_class "
        "WHERE relkind IN ('r', 'm') AND reltoastrelid <> 0 AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')"
    ):
        if t["toast"] >= floor and t["toast"] > 4 * t["heap"]:
            server.report.add(
                "PGH004", t["name"], 0, f"{t['name']}: {t['toast'] >> 20} MiB out of line, {t['heap'] >> 20} MiB in the table."
            )


def wal(server: Server, args: argparse.Namespace, floor: int, version: int) -> None:
    source = (
        "num_timed AS timed, num_requested AS forced FROM pg_stat_checkpointer"
        if version >= 17
        else "checkpoints_timed AS timed, checkpoints_req AS forced FROM pg_stat_bgwriter"
    )
    counts = server.rows(f"SELECT {source}")[0]
    if counts["forced"] > 10 and counts["forced"] > counts["timed"]:
        server.report.add(
            "PGH005",
            "max_wal_size",
            0,
            f"{counts['forced']} checkpoints were forced and {counts['timed']} came by time; max_wal_size is {server.setting('max_wal_size')} MB.",
        )
    if server.setting("wal_compression") == "off":
        server.report.add(
            "PGH005", "wal_compression", 0, "wal_compression is off: full pages are written as they are.", severity="info"
        )
    if float(server.setting("checkpoint_completion_target")) < 0.7:
        server.report.add(
            "PGH005", "checkpoint_completion_target", 0, "checkpoints are hurried: checkpoint_completion_target is below 0.7."
        )


def memory(server: Server, args: argparse.Namespace, floor: int, version: int) -> None:
    if float(server.setting("random_page_cost")) >= 4:
        server.report.add("PGH006", "random_page_cost", 0, "random_page_cost is 4, as for a spinning disk.", severity="info")
    if args.ram_mb:
        shared = int(server.setting("shared_buffers")) * 8 / 1024
        work = int(server.setting("work_mem")) / 1024
        connections = int(server.setting("max_connections"))
        if shared + work * connections > args.ram_mb:
            server.report.add(
                "PGH006",
                "work_mem",
                0,
                f"shared_buffers {shared:.0f} MB + {connections} x work_mem {work:.0f} MB is over {args.ram_mb:.0f} MB.",
            )


def wraparound(server: Server, args: argparse.Namespace, floor: int, version: int) -> None:
    for database in server.rows("SELECT datname, age(datfrozenxid) AS age FROM pg_database WHERE datallowconn"):
        if database["age"] > 1_000_000_000:
            server.report.add(
                "PGH007",
                database["datname"],
                0,
                f"{database['datname']}: the oldest transaction id is {database['age']} old; at 2,147,483,648 the server stops.",
                severity=None if database["age"] > 1_600_000_000 else "warning",
            )
    # A column narrower than its sequence ends first: its own greatest value counts.
    for s in server.rows(
        """SELECT format('%I.%I', q.schemaname, q.sequencename) AS name, q.last_value AS last,
                  least(q.max_value, CASE t.typname WHEN 'int2' THEN 32767 WHEN 'int4' THEN 2147483647 ELSE 9223372036854775807 END) AS most
           FROM pg_sequences q
           LEFT JOIN pg_depend d ON d.objid = format('%I.%I', q.schemaname, q.sequencename)::regclass AND d.classid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
           LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid LEFT JOIN pg_type t ON t.oid = a.atttypid
           WHERE q.last_value IS NOT NULL AND NOT q.cycle"""
    ):
        share = s["last"] / s["most"]
        if share > 0.7:
            server.report.add(
                "PGH007",
                s["name"],
                0,
                f"{s['name']} has used {share:.1%} of its numbers.",
                severity=None if share > 0.9 else "warning",
            )


def json_keys(server: Server, args: argparse.Namespace, floor: int, version: int) -> None:
    """Keys of expression indexes `(column ->> 'key')`, counted in a sample of the table."""
    for index in server.rows(
        """SELECT i.indexrelid::regclass::text AS name, i.indrelid AS oid, i.indrelid::regclass::text AS on_table,
                  (regexp_match(pg_get_indexdef(i.indexrelid), $x$\\(+"?([a-z_][a-z0-9_]*)"? ->> '([^']+)'::text\\)$x$)) AS key
           FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE i.indexprs IS NOT NULL AND c.relkind = 'r' AND c.reltuples >= 1000"""
    ):
        if index["key"] is None:
            continue
        column, key = index["key"]
        got = server.rows(
            f'SELECT count(*) AS all_rows, count(*) FILTER (WHERE "{column}" ? %s) AS with_key FROM (SELECT "{column}" FROM {index["on_table"]} LIMIT 10000) t',
            key,
        )[0]
        if got["all_rows"] and got["with_key"] > 0.95 * got["all_rows"]:
            server.report.add(
                "PGH008",
                index["on_table"],
                0,
                f"{index['on_table']}: {column} ->> '{key}' is in {got['with_key'] / got['all_rows']:.0%} of the rows and indexed by {index['name']}.",
            )


def partitions(server: Server, args: argparse.Namespace, floor: int, version: int) -> None:
    for p in server.rows(
        """SELECT i.inhparent::regclass::text AS parent, c.oid::regclass::text AS name, pg_get_expr(c.relpartbound, c.oid) AS bound, pt.partstrat AS strategy,
                  (SELECT format_type(a.atttypid, NULL) FROM pg_attribute a WHERE a.attrelid = i.inhparent AND a.attnum = pt.partattrs[0]) AS kind
           FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_partitioned_table pt ON pt.partrelid = i.inhparent WHERE c.relispartition"""
    ):
        if p["bound"] == "DEFAULT" and server.rows(f"SELECT EXISTS (SELECT 1 FROM {p['name']}) AS some")[0]["some"]:
            server.report.add("PGH009", p["name"], 0, f"the default partition {p['name']} of {p['parent']} holds rows.")
    ends = server.rows(
        """SELECT i.inhparent::regclass::text AS parent, max((regexp_match(pg_get_expr(c.relpartbound, c.oid), $x$TO \\('([^']+)'\\)$x$))[1]::timestamptz) AS until
           FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_partitioned_table pt ON pt.partrelid = i.inhparent
           JOIN pg_attribute a ON a.attrelid = i.inhparent AND a.attnum = pt.partattrs[0]
           WHERE pt.partstrat = 'r' AND pt.partnatts = 1 AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype) GROUP BY 1"""
    )
    for table in ends:
        if table["until"] is not None and table["until"] < datetime.now(UTC) + timedelta(days=args.ahead_days):
            server.report.add(
                "PGH009", table["parent"], 0, f"the last partition of {table['parent']} ends at {table['until']:%Y-%m-%d %H:%M}."
            )


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
