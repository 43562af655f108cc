"""What the run does with slow, failing and absent runtimes, and what its tables say."""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cenote_peers import bench, contestants, plots, tables
from cenote_peers.contestants import PeerError
from cenote_peers.engines import CannotHold


def builder(build: Any, seconds: float = 20.0) -> Any:
    return SimpleNamespace(build=build, build_seconds=seconds)


READY: Any = SimpleNamespace(forest=None, nan_rows=False)


def test_a_build_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(PeerError, match="not handed over in 0 s"):
        contestants._build_apart(builder(lambda *_: time.sleep(60), 0.3), READY, tmp_path / "x")
    assert time.monotonic() - start < 30


def test_a_build_tells_why_it_failed(tmp_path: Path) -> None:
    def absent(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'treelite'")

    def unfit(*_: object) -> None:
        raise CannotHold("too deep")

    with pytest.raises(PeerError, match="ModuleNotFoundError: No module named 'treelite'"):
        contestants._build_apart(builder(absent), READY, tmp_path / "x")
    with pytest.raises(CannotHold, match="too deep"):
        contestants._build_apart(builder(unfit), READY, tmp_path / "x")


def test_a_build_writes_its_file(tmp_path: Path) -> None:
    contestants._build_apart(builder(lambda _, __, path: path.write_text("trees")), READY, tmp_path / "x")
    assert (tmp_path / "x").read_text() == "trees"


def test_what_a_runtime_cannot_hold_is_no_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(contestants, "CACHE", tmp_path)
    says = """if True:
        import sys
        print("ready", flush=True)
        for line, answer in zip(sys.stdin, ["cannot too deep", "error no memory"]):
            print(answer, flush=True)
    """
    monkeypatch.setattr(contestants, "_command", lambda *_: [sys.executable, "-c", says])
    process = contestants.Process(contestants.SCORE0, 1)
    with pytest.raises(CannotHold, match="too deep"):
        process.ask("open")
    with pytest.raises(PeerError, match="no memory"):
        process.ask("open")
    process.close()


def test_the_shell_does_not_slow_a_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("CENOTE_ISA", "portable")
    monkeypatch.setenv("DAAL_CPU_ID", "1")
    given = contestants._environment(contestants.RUST, 2)
    assert not {"OPENBLAS_CORETYPE", "CENOTE_ISA", "DAAL_CPU_ID"} & set(given)
    assert given["OMP_NUM_THREADS"] == "2"
    assert contestants._environment(contestants.RUST_AVX2, 1)["CENOTE_ISA"] == "avx2"


def test_batches_that_would_take_too_long_are_left_out() -> None:
    outcome, plan = bench.Outcome(), bench.Plan(longest=60.0, longest_shared=20.0)
    # Half a second to start, then a microsecond a row: 100,000 rows take under a second.
    outcome.samples["w", "java", 1, 1] = [0.500_001]
    outcome.samples["w", "java", 1, 1000] = [0.501 / 1000]
    assert bench._too_long(outcome, "w", "java", 1, 100_000, plan) == ""
    outcome.samples["w", "slow", 1, 64] = [0.001]
    outcome.samples["w", "slow", 1, 1000] = [0.001]
    assert "it would take 100 s" in bench._too_long(outcome, "w", "slow", 1, 100_000, plan)
    outcome.samples["w", "one", 1, 1000] = [0.03]
    assert "one thread took 30 s" in bench._too_long(outcome, "w", "one", 2, 1000, plan)


def results(*cells: tuple[str, str, int, int, float]) -> tables.Results:
    return tables.Results(
        {
            "work": work, "who": who, "threads": str(threads), "batch": str(batch), "ns_per_row_tree": str(value),
            "us_per_row": str(value), "rows_per_s": "1",
        }
        for work, who, threads, batch, value in cells
    )  # fmt: skip


MEASURED = results(
    ("gbm_500x6_numeric", "cenote", 1, 100_000, 1.0),
    ("gbm_500x6_numeric", "cenote_sums", 1, 100_000, 0.8),
    ("gbm_500x6_numeric", "cenote_avx2", 1, 100_000, 2.0),
    ("gbm_500x6_numeric", "onedal", 1, 100_000, 8.0),
    ("gbm_500x6_numeric", "xgboost", 1, 100_000, 12.0),
    ("gbm_500x6_numeric", "catboost_oblivious", 1, 100_000, 1.7),
    ("gbm_500x6_numeric", "genmodel", 1, 100_000, 120.0),
)


def test_goals_compare_like_with_like() -> None:
    """Sums with the fastest native sums, CatBoost's easier problem not counted; predictions with genmodel's."""
    text = "\n".join(tables.goals(MEASURED))
    assert "| GBM, 500 trees of depth 6 | 0.8 (0.8) | 1 | 120 (140) | 10 (10) | oneDAL |" in text
    assert "(at most 2.2): 2 (GBM, 500 trees of depth 6)" in text


def test_the_page_takes_the_table_over(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    for _ in range(2):
        tables.fill(page, MEASURED)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert text.count("| oneDAL |") == 1


def test_names_beside_curves_do_not_overlap() -> None:
    places = plots._spread([1.0, 1.01, 1.02, 3.0], 0.5)
    assert all(b - a >= 0.5 - 1e-9 for a, b in itertools.pairwise(places))
    assert places[-1] == 3.0
    assert sum(places[:3]) == pytest.approx(3.03)


def test_pictures_are_drawn_of_what_there_is(tmp_path: Path) -> None:
    plots.draw(MEASURED, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"peers_bars.png", "peers_bars.svg"}
