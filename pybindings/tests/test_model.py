"""Opening, describing, pickling and sharing a model."""

from __future__ import annotations

import concurrent.futures
import io
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden import Case

import cenote


def test_every_source(tmp_path: Path, iris: Case) -> None:
    content = iris.mojo.read_bytes()
    folder = tmp_path / "unzipped"
    with zipfile.ZipFile(iris.mojo) as archive:
        archive.extractall(folder)
    expected = iris.model.predict(iris.rows)
    sources: list[Any] = [iris.mojo, str(iris.mojo), content, bytearray(content), memoryview(content),
                          io.BytesIO(content), iris.mojo.open("rb"), folder, str(folder)]
    for source in sources:
        model = cenote.load(source)
        assert model.predict(iris.rows) == expected
        if hasattr(source, "close"):
            source.close()
    assert cenote.load(folder).to_bytes() == cenote.load(folder).to_bytes()
    assert cenote.load(iris.mojo).to_bytes() == content


def test_description(binomial: Case, iris: Case) -> None:
    model = binomial.model
    assert (model.algo, model.algorithm, model.category) == ("gbm", "Gradient Boosting Machine", "Binomial")
    assert model.h2o_version.startswith("3.")
    assert model.mojo_version == "1.40"
    assert model.labels == model.output_names[1:]
    assert model.output_names[0] == "predict"
    assert set(model.feature_types.values()) == {"numeric", "categorical"}
    assert list(model.domains) == list(model.feature_types) == model.feature_names
    assert all((levels is None) == (model.feature_types[name] == "numeric") for name, levels in model.domains.items())
    assert model.n_trees == int(model.info["n_trees"])
    assert model.uuid == model.info["uuid"]
    assert model.response is not None
    assert model.offset_column is None
    assert model.default_threshold == float(model.info["default_threshold"])
    assert iris.model.default_threshold is None
    assert "gbm Binomial" in repr(model)
    with pytest.raises(AttributeError):
        model.algo = "glm"  # type: ignore[misc]


def test_pickles(iris: Case, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(iris.mojo.read_bytes())
    model = cenote.load(path)
    path.unlink()
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        pickled = pickle.dumps(model, protocol)
        assert pickle.dumps(pickle.loads(pickled), protocol) == pickled
        assert pickle.loads(pickled).predict(iris.rows) == iris.model.predict(iris.rows)


def test_threads_share_a_model(binomial: Case) -> None:
    expected = binomial.model.predict(binomial.columns)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for found in pool.map(binomial.model.predict, [binomial.columns] * 64):
            assert found == expected


def _large(case: Case) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.normal(size=(400_000, len(case.model.feature_names)))


def test_other_threads_run_while_it_scores(iris: Case) -> None:
    large = _large(iris)
    scoring = threading.Event()
    ticks = []

    def tick() -> None:
        scoring.wait()
        while scoring.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    other = threading.Thread(target=tick)
    other.start()
    scoring.set()
    began = time.perf_counter()
    iris.model.predict(large)
    ended = time.perf_counter()
    scoring.clear()
    other.join()
    during = [moment for moment in ticks if began < moment < ended]
    # Had it held the interpreter, the other thread would have ticked at most at the two ends.
    middle = [moment for moment in during if began + (ended - began) * 0.2 < moment < began + (ended - began) * 0.8]
    assert middle, f"{len(during)} ticks in {ended - began:.3f} s, none in the middle"


def _score(case: Case, rows: int) -> float:
    return float(case.model.predict(_large(case)[:rows])[:, 1].sum())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes(iris: Case, method: str) -> None:
    """A forked child has none of its parent's threads: it must make its own and not wait for theirs."""
    expected = [_score(iris, rows) for rows in (10, 50_000)]
    if method == "spawn":
        os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        found = [pool.submit(_score, iris, rows) for rows in (10, 50_000, 50_000)]
        assert [each.result(timeout=60) for each in found] == [*expected, expected[1]]
    assert _score(iris, 50_000) == expected[1]


def test_number_of_threads(iris: Case) -> None:
    large = _large(iris)[:50_000]
    expected = iris.model.predict(large)
    before = cenote.get_num_threads()
    try:
        for threads in (1, 3):
            cenote.set_num_threads(threads)
            assert cenote.get_num_threads() == threads
            np.testing.assert_array_equal(iris.model.predict(large), expected)
        cenote.set_num_threads(None)
        assert cenote.get_num_threads() >= 1
        with pytest.raises((ValueError, OverflowError)):
            cenote.set_num_threads(0)
    finally:
        cenote.set_num_threads(before)


def test_needs_no_other_package(iris: Case) -> None:
    """Plain Python in and out imports nothing that plain Python has not."""
    code = f"""
import sys
sys.modules.update(dict.fromkeys(["numpy", "pandas", "polars", "pyarrow"]))
import cenote
model = cenote.load({str(iris.mojo)!r})
row = dict.fromkeys(model.feature_names, 1.0)
assert model.predict([row, row])[0] == model.predict(row)
assert model.predict({{name: [1.0] for name in row}})["predict"] == [model.predict(row)["predict"]]
class Table:
    def __init__(self, table): self.table = table
    def __arrow_c_stream__(self, requested_schema=None): return self.table.__arrow_c_stream__()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
