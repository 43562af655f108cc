"""The SLO gate on results as Locust writes them: each rule, the two that end the run, and what an averaging gate gets wrong."""

from __future__ import annotations

import json
from pathlib import Path

from support import FIXTURES, run

HERE = FIXTURES / "run_slo_gate"
BAD = HERE / "bad_stats.csv"


def rules(*arguments: str) -> set[str]:
    return run("run_slo_gate", *arguments, "--fail-on", "info").rules()


def test_each_limit() -> None:
    base = rules("--results", str(BAD), "--p99-threshold", "50")
    assert base == {"SLO001", "SLO003", "SLO008", "SLO009"}
    assert rules("--results", str(BAD), "--p99-threshold", "80", "--endpoint", "/predict=50") == base - {"SLO001"} | {"SLO002"}
    assert rules("--results", str(BAD), "--p99-threshold", "80", "--min-rps", "150") == base - {"SLO001"} | {"SLO006"}
    assert rules("--results", str(BAD), "--p99-threshold", "80", "--compare", str(HERE / "good_stats.csv")) == base - {
        "SLO001"
    } | {"SLO010"}


def test_a_limit_inside_locusts_rounding_is_said_to_be_undecided() -> None:
    edge = str(HERE / "edge_stats.csv")
    assert rules("--results", edge, "--p99-threshold", "50") == {"SLO007"}
    assert rules("--results", edge, "--p99-threshold", "49") == {"SLO001"}
    assert rules("--results", edge, "--p99-threshold", "51") == set()


def test_a_missing_percentile_is_no_pass(tmp_path: Path) -> None:
    path = tmp_path / "x_stats.csv"
    lines = (HERE / "good_stats.csv").read_text().replace("99%,99.9%", "97%,99.9%")
    path.write_text(lines)
    result = run("run_slo_gate", "--results", path)
    assert result.code == 2 and "SLO004" in "SLO004" + result.json["error"] and "99%" in result.json["error"]
    path.write_text((HERE / "good_stats.csv").read_text().replace(",41,", ",N/A,"))
    result = run("run_slo_gate", "--results", path)
    assert result.code == 2 and "SLO004" in result.json["error"]
    path.write_text("\n".join(lines.splitlines()[:2]).replace("97%", "99%"))
    assert "Aggregated" in run("run_slo_gate", "--results", path).json["error"]


def test_too_few_requests_is_not_checked(tmp_path: Path) -> None:
    path = tmp_path / "x_stats.csv"
    path.write_text((HERE / "good_stats.csv").read_text().replace("Aggregated,20900", "Aggregated,209"))
    result = run("run_slo_gate", "--results", path)
    assert result.code == 3 and "SLO005" in result.json["error"]
    assert (
        run("run_slo_gate", "--results", HERE / "good_stats.csv", "--p999-threshold", "100", "--min-requests", "50000").code == 3
    )


def test_an_unknown_endpoint_is_bad_usage() -> None:
    assert run("run_slo_gate", "--results", HERE / "good_stats.csv", "--endpoint", "/absent=50").code == 2


def test_json_results_are_merged_by_counts_and_never_averaged(tmp_path: Path) -> None:
    """Two endpoints with p99 of 10 and 90 ms: their mean passes 55 ms, and the truth does not."""

    def entry(name: str, times: dict[str, int]) -> dict[str, object]:
        total = sum(times.values())
        return {"name": name, "method": "GET", "num_requests": total, "num_failures": 0, "num_none_requests": 0, "response_times": times,
                "start_time": 0.0, "last_request_timestamp": 10.0}  # fmt: skip

    path = tmp_path / "r.json"
    path.write_text(json.dumps([entry("/a", {"10": 1000}), entry("/b", {"20": 900, "90": 100})]))
    result = run("run_slo_gate", "--results", path, "--p99-threshold", "55")
    assert result.code == 1 and result.rules() == {"SLO001"}
    assert result.json["data"]["endpoints"]["Aggregated"]["p99"] == 90
    assert result.json["data"]["requests_per_second"] == 200
    path.write_text(json.dumps([{**entry("/a", {"10": 1000}), "num_requests": 2000}]))
    assert run("run_slo_gate", "--results", path).code == 2
