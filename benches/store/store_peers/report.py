"""What a run found: the goals beside the figures, the method in words, the plots."""

from __future__ import annotations

import csv
import datetime
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from .results import Results

if TYPE_CHECKING:
    from .bench import Plan

METHOD = """# How `store.csv` was made

One run of `benches/store/run.py` (`make peers-store`): one private PostgreSQL with its default settings but `fsync=off`, on
loopback, all contenders in turn, round after round, on the same rows: {keys:,} keys of 20 float8. Feast's online table has
5,000 keys, because it takes long to fill.

- **Latencies** (`get_1x20`, `get_100x20`, `get_100x20_arrow`, `score_gbm_500x6`): {rounds} rounds. In a round the Rust program
  asks in turn by cenote and by raw tokio-postgres ({calls} calls), pgbench asks for a second with `-M prepared` and logs each
  transaction, then one Python thread asks in turns of 25 calls by the wheel, psycopg, the wheel's asynchronous store and
  asyncpg, and then Feast. Server and contenders share one processor meanwhile: where else the system puts a connection's two
  ends decides whether its answers take some 25 or some 80 us, for all alike. Python's contenders connect ten times anew in a
  round. From the key to values of the language: a `Features`
  in Rust, a dict in Python. `get_100x20_arrow` is a `pyarrow.Table` in the keys' order for cenote and Feast, a list of dicts in
  the keys' order for the drivers.
- **In flight** (`in_flight_N`): N clients for {seconds} s, twice; the better rate. Rust: one current-thread runtime, as pgbench
  has one thread, its calls in tasks as a service's are. `cenote_python` is threads that share a store,
  `cenote_python_async` and `asyncpg` tasks of one loop on a pool
  of N, `feast` its asynchronous reads.
- **Writes** (`upsert`): {upsert_rows:,} new rows into an empty table, the newest of a key wins, in one transaction; the best of
  {upsert_rounds}. cenote from columns in memory; asyncpg from tuples that are made before the clock starts, by COPY into a
  temporary table and one merge, as we do it with keys that are there; new ones we copy straight into the table. Feast:
  `write_to_online_store` of 5,000 rows. `upsert_replay` is the same batch
  again. `upsert_1m`, `upsert_10m`: batches of 100,000 by one writer in a process of its own; `peak_mb` is all its memory.
- **Join** (`join`): {entities:,} entities in no order against {history:,} rows of history, the best of {joins}. `bare_lateral`
  is the statement alone, its entities in an analysed table already, sorted by key and time; ours sends them too. Feast reads a
  copy of the history that is indexed by key and time; once each; given up after {feast_join_limit} s (`gave_up`).
- **Faults** (`backend_kills`): eight callers on a pool of eight while backends are ended one by one; at the end all at once:
  `recovery_ms` is until each of eight more calls has its answer. `free_after_*`: a read that waits for a lock is given up by its
  deadline (60 ms), by dropping its future, or by cancelling its await; the time until `pg_stat_activity` says idle.

`pN_us` are percentiles of all calls of all rounds in microseconds. `client_cpu_us` is the processor's time that a call takes in
the client's process (in Rust its thread), the median of the rounds.
"""


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "?"
    return (done.stdout or done.stderr).splitlines()[0].strip()


def describe(dsn: str, plan: Plan) -> str:
    """The method, the machine and the versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "?")
    packages = ("feast", "asyncpg", "psycopg", "pyarrow", "pandas", "cenote")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    with psycopg.connect(dsn) as connection:
        server = connection.execute("SHOW server_version").fetchone()
    facts = [
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, commit "
        + _said("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"),
        f"{cpu}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the start",
        f"PostgreSQL {server[0] if server else '?'}, Python {platform.python_version()}, {_said('rustc', '--version')}",
        versions,
    ]
    fields = {**vars(plan), "history": plan.keys * plan.events, "keys": 100_000}
    return METHOD.format(**fields) + "\n## The machine\n\n" + "".join(f"- {fact}\n" for fact in facts)


def goals(results: Results) -> str:
    """A table of the goals with what the run found."""
    get = results.get

    def ratio(work: str, ours: str, theirs: str, metric: str, work_of_theirs: str | None = None) -> float | None:
        mine, other = get(work, ours, metric), get(work_of_theirs or work, theirs, metric)
        return mine / other if mine and other else None

    def latency(work: str, ours: str, theirs: str) -> Callable[[str], float | None]:
        return lambda metric: ratio(work, ours, theirs, metric)

    def over(metric: str) -> float | None:
        parts = [get("score_gbm_500x6", who, metric) for who in ("cenote", "cenote_get", "cenote_row_score")]
        return parts[0] - parts[1] - parts[2] if None not in parts else None

    one, many, upsert, join, kills = "get_1x20", "get_100x20_arrow", "upsert", "join", "backend_kills"
    calls, rows = "calls_per_s", "rows_per_s"
    table: list[tuple[str, str, float | Callable[[str], float | None] | None, str, float]] = [
        ("get 1 x 20, Rust", "/ pgbench", latency(one, "cenote", "pgbench"), "<=", 1.15),
        ("", "/ tokio-postgres", latency(one, "cenote", "tokio_postgres"), "<=", 1.05),
        ("", "Feast / ours", latency(one, "feast", "cenote"), ">=", 15),
        ("get 1 x 20, Python", "/ asyncpg", latency(one, "cenote_python", "asyncpg"), "<=", 0.8),
        ("", "/ psycopg 3", latency(one, "cenote_python", "psycopg"), "<=", 0.8),
        ("get 1 x 20, Python async", "/ asyncpg", latency(one, "cenote_python_async", "asyncpg"), "<=", 1.1),
        ("get 100 x 20, Python to Arrow", "/ asyncpg to dicts", latency(many, "cenote_python", "asyncpg"), "<=", 0.6),
        ("", "Feast / ours", latency(many, "feast", "cenote_python"), ">=", 50),
        ("8 in flight", "/ pgbench", ratio("in_flight_8", "cenote", "pgbench", calls), ">=", 0.85),
        ("", "/ asyncpg pool", ratio("in_flight_8", "cenote", "asyncpg", calls), ">=", 3),
        ("score(key), GBM 500 x 6", "us over get + row score", over, "<=", 3),
        ("newest-wins upsert", "rows/s", get(upsert, "cenote", rows), ">=", 100_000),
        ("", "/ asyncpg", ratio(upsert, "cenote", "asyncpg", rows), ">=", 1.5),
        ("", "/ Feast", ratio(upsert, "cenote", "feast", rows), ">=", 80),
        ("", "rows that a replay changes", get("upsert_replay", "cenote", "rows_changed"), "<=", 0),
        ("", "MB at 10M rows", get("upsert_10m", "cenote", "peak_mb"), "<=", 200),
        ("point-in-time join", "/ bare LATERAL", ratio(join, "cenote", "bare_lateral", "s"), "<=", 1.1),
        ("", "Feast, SQL / ours", ratio(join, "feast_sql", "cenote", "s"), ">=", 8),
        ("", "Feast, DataFrame / ours", ratio(join, "feast_dataframe", "cenote", "s"), ">=", 15),
        ("backend kills under load", "wrong reads", get(kills, "cenote", "wrong_reads"), "<=", 0),
        ("", "visible errors", get(kills, "cenote", "visible_errors"), "<=", 0),
        ("", "connections missing", get(kills, "cenote", "pool_missing"), "<=", 0),
        ("", "ms to recover", get(kills, "cenote", "recovery_ms"), "<=", 1000),
        *(
            ("a query given up" if index == 0 else "", f"ms by {how}, p90", given and given / 1e3, "<=", 50)
            for index, (how, given) in enumerate((
                ("deadline", get("free_after_deadline", "cenote", "p90_us")),
                ("dropped future", get("free_after_drop", "cenote", "p90_us")),
                ("cancelled await in Python", get("free_after_cancel", "cenote_python_async", "p90_us")),
            ))
        ),
    ]  # fmt: skip
    lines = ["## Goals", "", "Latencies by their median, and by their tenth percentile, which other programs disturb less.", ""]
    lines += ["| work | measure | goal | found | p10 | |", "|---|---|---|---|---|---|"]
    for work, measure, given, sign, bound in table:
        found = given("p50_us") if callable(given) else given
        undisturbed = given("p10_us") if callable(given) else None
        if found is None:
            lines.append(f"| {work} | {measure} | {sign} {bound:,} | not run | | |")
            continue
        met = found <= bound if sign == "<=" else found >= bound
        cells = ["" if cell is None else f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.2f}" for cell in (found, undisturbed)]
        verdict = "met" if met else "**missed**"
        lines.append(f"| {work} | {measure} | {sign} {bound:,} | {cells[0]} | {cells[1]} | {verdict} |")
    return "\n".join(lines) + "\n"


def write_distributions(results: Results, folder: Path) -> None:
    """Every half per cent of each latency, for the plots."""
    with (folder / "store_latencies.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["work", "who", "percent", "us"])
        for (work, who), samples in sorted(results.samples.items()):
            if len(samples) < 20:
                continue
            ordered = sorted(samples)
            for step in range(200):
                value = ordered[min(len(ordered) - 1, len(ordered) * step // 200)]
                table.writerow([work, who, step / 2, f"{value:.4g}"])


COLOURS = {
    "cenote": "#0b7a75", "cenote_python": "#6bb5b1", "cenote_python_async": "#9ad0a5", "tokio_postgres": "#3d6fb4",
    "pgbench": "#2f2f2f", "asyncpg": "#c1553b", "psycopg": "#b98a2e", "feast": "#8a5ba6",
}  # fmt: skip


def plots(folder: Path) -> None:
    """Draws `store_latency` and `store_clients`, each as PNG and SVG."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "cenote", "axes.spines.top": False, "axes.spines.right": False})
    import matplotlib.pyplot as plt
    import pandas as pd

    def save(figure: Any, name: str) -> None:
        figure.tight_layout()
        for kind in ("png", "svg"):
            metadata = {"Date": None} if kind == "svg" else None
            figure.savefig(folder / f"{name}.{kind}", dpi=130, bbox_inches="tight", metadata=metadata)
        plt.close(figure)

    def curve(axis: Any, who: str, x: Any, y: Any, marker: str | None = None) -> None:
        ours = who.startswith("cenote")
        axis.plot(
            x, y, label=who, color=COLOURS[who], linewidth=2.4 if ours else 1.3, zorder=3 if ours else 2, marker=marker,
            markersize=4,
        )  # fmt: skip

    latencies = pd.read_csv(folder / "store_latencies.csv")
    works = {"get_1x20": "1 key x 20 features", "get_100x20_arrow": "100 keys x 20, Python to Arrow or dicts"}
    works = {work: title for work, title in works.items() if (latencies["work"] == work).any()}
    if works:
        figure, axes = plt.subplots(1, len(works), figsize=(6.2 * len(works), 4.6), squeeze=False)
        for axis, (work, title) in zip(axes.flat, works.items(), strict=True):
            mine = latencies[(latencies["work"] == work) & (latencies["percent"] <= 99)]
            order = mine[mine["percent"] == 50].sort_values("us")["who"]
            for who in order:
                one = mine[mine["who"] == who]
                curve(axis, who, one["us"], one["percent"])
            axis.set_xscale("log")
            axis.set_ylim(0, 100)
            axis.set_title(title, loc="left", fontsize=10)
            axis.set_xlabel("microseconds a call (left is better)", fontsize=8)
            axis.set_ylabel("per cent of calls that took at most as long", fontsize=8)
            axis.grid(which="major", linewidth=0.4)
            axis.tick_params(labelsize=8)
            axis.legend(fontsize=8, frameon=False, loc="best")
        save(figure, "store_latency")

    table = pd.read_csv(folder / "store.csv")
    rates = table[table["work"].str.startswith("in_flight_") & (table["metric"] == "calls_per_s")].copy()
    if len(rates):
        rates["clients"] = rates["work"].str.removeprefix("in_flight_").astype(int)
        figure, axis = plt.subplots(figsize=(7, 4.6))
        for who in rates.groupby("who")["value"].max().sort_values(ascending=False).index:
            one = rates[rates["who"] == who].sort_values("clients")
            curve(axis, who, one["clients"], one["value"], marker="o")
        clients = sorted(rates["clients"].unique())
        axis.set_xscale("log", base=2)
        axis.set_xticks(clients, [str(count) for count in clients])
        axis.set_yscale("log")
        axis.set_xlabel("clients", fontsize=8)
        axis.set_ylabel("reads of 1 key x 20 features a second (higher is better)", fontsize=8)
        axis.grid(which="major", linewidth=0.4)
        axis.tick_params(labelsize=8)
        axis.legend(fontsize=8, frameon=False, bbox_to_anchor=(1.0, 1.0), loc="upper left")
        save(figure, "store_clients")
