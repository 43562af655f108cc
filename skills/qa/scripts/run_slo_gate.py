# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""SLO gate: judges what a Locust run measured (stats CSV or --json-file) against latency, error and throughput limits."""

from __future__ import annotations

import argparse
import csv
import fnmatch
import io
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _report import NotChecked, Report, Rule, Tool, Unusable, main

RULES = (
    Rule("SLO001", "error", "the percentile of all requests is over its limit", "Profile the slowest endpoint first; see the per-endpoint figures in `data`."),
    Rule("SLO002", "error", "the percentile of an endpoint is over its limit", "Profile this endpoint; raise the limit only with the consumer's word."),
    Rule("SLO003", "error", "too many requests failed", "Read the failures file; a failed request is not a fast one."),
    Rule("SLO004", "error", "a figure that the gate needs is absent or not a number (exit code 2)", "Run Locust with --csv or --json-file and give its own file, unedited."),
    Rule("SLO005", "error", "too few requests for this percentile (exit code 3)", "Run longer: p99 needs 1,000 requests, p99.9 needs 10,000."),
    Rule("SLO006", "error", "the throughput is below the target", "Check that the generator was not the limit (open-loop pacing, its own cores), then the server."),
    Rule("SLO007", "warning", "the limit lies inside Locust's rounding, so the figure does not decide", "Choose a limit away from a bucket edge, or measure in the server's own histogram."),
    Rule("SLO008", "error", "the run recorded exceptions in the load test itself", "Mend the locustfile: what it did not send was not measured."),
    Rule("SLO009", "warning", "latency rose during the run", "Look for a leak, a filling pool or a cold cache that never warms; run longer."),
    Rule("SLO010", "error", "worse than the baseline run by more than is allowed", "Find the change between the two; compare runs of one machine only."),
)  # fmt: skip
TOOL = Tool("run_slo_gate", "1.0.0", __doc__ or "", RULES)
AGGREGATED = "Aggregated"


@dataclass
class Entry:
    """One line of results. `percentiles` maps 50.0, 99.0, ... to milliseconds as Locust rounded them."""

    name: str
    requests: int
    failures: int
    rate: float | None
    percentiles: dict[float, float] = field(default_factory=dict)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results",
        required=True,
        metavar="FILE",
        help="PREFIX_stats.csv of `locust --csv PREFIX`, or the file of `locust --json-file`",
    )
    parser.add_argument(
        "--p99-threshold", type=limit, default=50.0, metavar="MS", help="limit of the 99th percentile (default: 50)"
    )
    parser.add_argument("--p95-threshold", type=limit, metavar="MS")
    parser.add_argument(
        "--p999-threshold", type=limit, metavar="MS", help="limit of the 99.9th percentile (needs 10,000 requests)"
    )
    parser.add_argument(
        "--endpoint",
        action="append",
        default=[],
        metavar="NAME=MS",
        help="p99 limit of the endpoints whose name fits NAME (a glob)",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=["/health*", "/ready*", "/live*", "/metrics"],
        metavar="GLOB",
        help="endpoints that no --endpoint limit concerns",
    )
    parser.add_argument(
        "--max-error-rate", type=float, default=0.001, metavar="SHARE", help="share of requests that may fail (default: 0.001)"
    )
    parser.add_argument("--min-rps", type=float, metavar="N", help="throughput target, requests a second")
    parser.add_argument(
        "--min-requests",
        type=int,
        metavar="N",
        help="fewer than this is not a measurement (default: 1000, with --p999-threshold 10000)",
    )
    parser.add_argument("--history", metavar="FILE", help="PREFIX_stats_history.csv (default: the one beside the results)")
    parser.add_argument("--compare", metavar="FILE", help="results of an earlier run on the same machine")
    parser.add_argument(
        "--max-regression",
        type=float,
        default=20.0,
        metavar="PERCENT",
        help="how much worse than --compare p99 may be (default: 20)",
    )


def limit(text: str) -> float:
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError("a limit is a positive number of milliseconds")
    return value


def check(args: argparse.Namespace, report: Report) -> None:
    path = Path(args.results)
    report.targets.append(str(path))
    entries = read(report, path)
    if entries is None:
        return
    total = entries[AGGREGATED]
    needed = args.min_requests if args.min_requests is not None else 10_000 if args.p999_threshold else 1_000
    if total.requests < needed:
        raise NotChecked(f"SLO005: {total.requests} requests; at least {needed} are needed to speak of this percentile")
    report.scanned += 1
    report.data = {"requests": total.requests, "failures": total.failures, "requests_per_second": total.rate,
                   "endpoints": {e.name: {f"p{q:g}": v for q, v in sorted(e.percentiles.items()) if q in (50.0, 95.0, 99.0, 99.9)} for e in entries.values()}}  # fmt: skip
    for quantile, most in ((95.0, args.p95_threshold), (99.0, args.p99_threshold), (99.9, args.p999_threshold)):
        if most is not None:
            judge(report, path, "SLO001", total, quantile, most)
    for spec in args.endpoint:
        pattern, _, number = spec.rpartition("=")
        try:
            most = limit(number)
        except (ValueError, argparse.ArgumentTypeError):
            raise Unusable(f"--endpoint {spec}: expected NAME=MS") from None
        fitting = [
            e
            for e in entries.values()
            if e.name != AGGREGATED
            and fnmatch.fnmatch(e.name, pattern)
            and not any(fnmatch.fnmatch(e.name, x) for x in args.exclude)
        ]
        if not fitting:
            raise Unusable(f"--endpoint {spec}: no endpoint has this name; there are: {', '.join(sorted(entries))}")
        for entry in fitting:
            if entry.requests < min(needed, 1_000):
                raise NotChecked(f"SLO005: {entry.name} has {entry.requests} requests; p99 needs 1,000")
            judge(report, path, "SLO002", entry, 99.0, most)
    share = total.failures / total.requests
    if share > args.max_error_rate:
        report.add(
            "SLO003",
            path,
            0,
            f"{total.failures} of {total.requests} requests failed ({share:.3%}; allowed {args.max_error_rate:.3%}).",
        )
    if args.min_rps is not None:
        if total.rate is None:
            raise Unusable("SLO004: the results do not tell requests a second")
        if total.rate < args.min_rps:
            report.add("SLO006", path, 0, f"{total.rate:.1f} requests a second; the target is {args.min_rps:g}.")
    beside(report, path, args.history)
    if args.compare:
        earlier = read(report, Path(args.compare))
        if earlier is not None:
            old, new = percentile(earlier[AGGREGATED], 99.0), percentile(total, 99.0)
            if new > old * (1 + args.max_regression / 100):
                report.add(
                    "SLO010",
                    path,
                    0,
                    f"p99 {new:g} ms; it was {old:g} ms (+{100 * (new / old - 1) if old else math.inf:.0f} %, allowed {args.max_regression:g} %).",
                )


def judge(report: Report, path: Path, rule: str, entry: Entry, quantile: float, most: float) -> None:
    value = percentile(entry, quantile)
    half = bucket(value) / 2
    if value - half <= most < value + half and value != 0:
        report.add(
            "SLO007",
            path,
            0,
            f"{entry.name}: p{quantile:g} is {value:g} ms, rounded from {value - half:g} to {value + half:g}, and the limit is {most:g} ms.",
        )
    elif value > most:
        report.add(rule, path, 0, f"{entry.name}: p{quantile:g} is {value:g} ms; the limit is {most:g} ms.")


def bucket(value: float) -> float:
    """The width to which Locust rounds a response time of this size, in milliseconds."""
    return 1 if value < 100 else 10 if value < 1_000 else 100 if value < 10_000 else 1_000


def percentile(entry: Entry, quantile: float) -> float:
    if quantile not in entry.percentiles:
        raise Unusable(f"SLO004: {entry.name} has no {quantile:g}th percentile")
    return entry.percentiles[quantile]


def read(report: Report, path: Path) -> dict[str, Entry] | None:
    try:
        if not path.is_file() or path.stat().st_size > 256 << 20:
            raise Unusable(f"{path}: not a file of results")
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise Unusable(f"{path}: {error}") from None
    if not text.strip("\0 \r\n\t"):
        raise Unusable(f"{path} is empty")
    try:
        entries = from_json(json.loads(text)) if text.lstrip()[:1] in "[{" else from_csv(text)
    except (ValueError, TypeError, KeyError, csv.Error, RecursionError) as error:
        raise Unusable(f"SLO004: {path} is not a Locust result: {error}") from None
    if AGGREGATED not in entries:
        raise Unusable(f"SLO004: {path} has no Aggregated line: was the run cut short?")
    report.engines.append("locust " + ("json" if text.lstrip()[:1] in "[{" else "csv"))
    return entries


def from_csv(text: str) -> dict[str, Entry]:
    rows = csv.DictReader(io.StringIO(text))
    fields = [f for f in rows.fieldnames or [] if f]
    lacking = {"Name", "Request Count", "Failure Count"} - set(fields)
    if lacking:
        raise ValueError("no column " + ", ".join(sorted(lacking)))
    if "Timestamp" in fields:
        raise ValueError("this is a stats history; give the file that ends in _stats.csv")
    quantiles = {float(f[:-1]): f for f in fields if f.endswith("%") and f[:-1].replace(".", "", 1).isdigit()}
    if 99.0 not in quantiles:
        raise ValueError("no column 99%")
    out: dict[str, Entry] = {}
    for row in rows:
        name = row["Name"] if row["Name"] is not None else ""
        requests = int(row["Request Count"])
        rate = row.get("Requests/s")
        entry = Entry(name, requests, int(row["Failure Count"]), number(rate) if rate not in (None, "", "N/A") else None)
        if requests:
            entry.percentiles = {q: number(row[f]) for q, f in quantiles.items()}
        kind = row.get("Type") or ""
        key = name if name == AGGREGATED and kind in ("", "None") else f"{kind} {name}".strip()
        entry.name = key if key == AGGREGATED else name
        out[key] = entry
    return out


def number(text: str | None) -> float:
    value = float(text) if text not in (None, "") else math.nan  # type: ignore[arg-type]
    if not math.isfinite(value):
        raise ValueError(f"{text!r} where a number belongs")
    return value


def from_json(data: Any) -> dict[str, Entry]:
    """Locust's own counts a rounded time, so that percentiles of all requests are computed, never averaged."""
    stats = data["stats"] if isinstance(data, dict) else data
    out: dict[str, Entry] = {}
    together: dict[float, int] = {}
    first, last = math.inf, 0.0
    for item in stats:
        times = {float(k): int(v) for k, v in item["response_times"].items()}
        entry = Entry(str(item["name"]), int(item["num_requests"]), int(item["num_failures"]), None, quantiles_of(times))
        if sum(times.values()) + int(item.get("num_none_requests", 0)) != entry.requests:
            raise ValueError(f"the counts of {entry.name} do not add up")
        for key, count in times.items():
            together[key] = together.get(key, 0) + count
        first, last = min(first, number(item["start_time"])), max(last, number(item["last_request_timestamp"] or 0))
        out[f"{item.get('method') or ''} {entry.name}".strip()] = entry
    if not out:
        raise ValueError("no endpoints")
    requests, failures = sum(e.requests for e in out.values()), sum(e.failures for e in out.values())
    out[AGGREGATED] = Entry(
        AGGREGATED, requests, failures, requests / (last - first) if last > first else None, quantiles_of(together)
    )
    return out


def quantiles_of(times: dict[float, int]) -> dict[float, float]:
    total = sum(times.values())
    out = {}
    for q in (50.0, 95.0, 99.0, 99.9):
        seen = 0
        for value in sorted(times):
            seen += times[value]
            if seen >= math.ceil(total * q / 100):
                out[q] = value
                break
    return out


def beside(report: Report, path: Path, history: str | None) -> None:
    """The exceptions and the history that Locust wrote with the same prefix."""
    prefix = str(path)[: -len("_stats.csv")] if path.name.endswith("_stats.csv") else None
    exceptions = Path(f"{prefix}_exceptions.csv")
    if prefix and exceptions.is_file():
        rows = list(csv.DictReader(io.StringIO(exceptions.read_text("utf-8", "replace"))))
        if rows:
            report.add(
                "SLO008",
                exceptions,
                2,
                f"{len(rows)} kind(s) of exception in the load test, the first: {str(rows[0].get('Message'))[:120]}.",
            )
    source = Path(history) if history else Path(f"{prefix}_stats_history.csv") if prefix else None
    if source is None or (not source.is_file() and not history):
        return
    try:
        rows = list(csv.DictReader(io.StringIO(source.read_text("utf-8", "replace"))))
    except (OSError, csv.Error) as error:
        raise Unusable(f"{source}: {error}") from None
    values = [float(r["99%"]) for r in rows if r.get("Name") == AGGREGATED and r.get("99%") not in (None, "", "N/A")]
    third = len(values) // 3
    if third >= 5:
        middle, end = sorted(values[third : 2 * third])[third // 2], sorted(values[-third:])[third // 2]
        if end > 1.5 * middle and end - middle > 5:
            report.add(
                "SLO009", source, 0, f"the median p99 of the last third is {end:g} ms; of the middle third it was {middle:g} ms."
            )


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
