"""What is measured: for each work a model, its rows, and who takes part."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from . import data, glm, mojo, train

BATCHES = (1, 8, 64, 1000, 100_000)
DEPTHS = (2, 4, 6, 8, 10, 12, 16)
ZOO_CASES = (
    "gbm_perf_flights_500x6",
    "gbm_perf_flights_1000x8",
    "gbm_perf_digits",
    "drf_perf_100x20",
    "glm_perf_highcard",
)


@dataclass(frozen=True)
class Work:
    """`model` names a recipe of `train`, or a case of the zoo; `group` says who takes part and what is timed."""

    name: str
    model: str
    group: str = "trees"  # trees, depth, row, glm, frame, load, first
    one_thread: tuple[int, ...] = BATCHES
    all_threads: tuple[int, ...] = (1000, 100_000)


WORKS: tuple[Work, ...] = (
    Work("gbm_500x6_numeric", "gbm_500x6_numeric"),
    Work("gbm_1000x8_numeric", "gbm_1000x8_numeric"),
    Work("drf_100x20_numeric", "drf_100x20_numeric"),
    Work("gbm_500x6_flights", "gbm_500x6_flights"),
    Work("gbm_multinomial_10", "gbm_multinomial_10"),
    Work("glm_highcard", "glm_highcard", "glm"),
    Work("one_row_500x6", "gbm_500x6_numeric", "row", (1,), ()),
    Work("load", "drf_100x20_numeric", "load", (1,), (1,)),
    Work("load_first", "drf_100x20_numeric", "first", (1,), (1,)),
    *(Work(f"depth_{d:02d}", f"gbm_100x{d}_numeric", "depth", (10_000,), ()) for d in DEPTHS),
    Work("pandas_100k", "pandas_100k", "frame", (1, 1000, 100_000), (100_000,)),
)
ZOO_WORKS: tuple[Work, ...] = tuple(
    Work(f"zoo_{case}", f"zoo:{case}", "glm" if case.startswith("glm") else "trees", (100_000,), ())
    for case in ZOO_CASES
)


@dataclass
class Ready:
    """A work with its files made: what a worker opens, and the oracle's answer on the first rows."""

    work: Work
    mojo: Path
    forest: Any  # Forest or Glm
    columns: int
    n_trees: int
    nan_rows: bool
    folder: Path
    rows: Path  # float32, row by row
    frame: Path | None  # the same rows as a pickled pandas frame
    context: Path  # the forest without its trees, pickled
    margins: np.ndarray
    shape: dict[str, float]


def chosen(names: list[str]) -> list[Work]:
    """The works of these names, in order; the zoo's come in where `CENOTE_ZOO` names its folder."""
    every = [*WORKS, *(ZOO_WORKS if os.environ.get("CENOTE_ZOO") else ())]
    unknown = set(names) - {work.name for work in every}
    if unknown:
        raise SystemExit(f"no such work: {', '.join(sorted(unknown))}; there are {', '.join(w.name for w in every)}")
    return [work for work in every if not names or work.name in names]


def missing_models(works: list[Work]) -> Iterator[str]:
    """The recipes that must be trained first."""
    for name in dict.fromkeys(work.model for work in works):
        if not name.startswith("zoo:") and train.find(name) is None:
            yield name


def _read(work: Work) -> tuple[Path, Any]:
    if work.model.startswith("zoo:"):
        path = Path(os.environ["CENOTE_ZOO"]) / "cases" / work.model.removeprefix("zoo:") / "model.zip"
    else:
        found = train.find(work.model)
        assert found is not None, work.model
        path = found
    return path, glm.read_glm(path) if work.group == "glm" else mojo.read_forest(path)


def _rows(work: Work, forest: Any, count: int) -> tuple[np.ndarray, pd.DataFrame | None]:
    """The rows, and for the frame work the same as a frame with categorical columns."""
    if work.model.startswith("zoo:"):
        case = Path(os.environ["CENOTE_ZOO"]) / "cases" / work.model.removeprefix("zoo:")
        kept = dict.fromkeys(forest.domains, str)
        frame = pd.read_csv(case / "perf_input.csv.gz", nrows=count, dtype=kept, na_values=[""], keep_default_na=False)
        return data.encode(frame, forest.names, forest.domains), None
    if not forest.domains:
        return data.gaussian_rows(count, 99), None
    frame = data.split_flights()[1].iloc[:count]
    if work.group != "frame":
        return data.encode(frame, forest.names, forest.domains), None
    frame = frame[forest.names].copy()
    for name in forest.names:
        # float64, since a float32's shortest text reads back as another float64, and one way goes by CSV
        frame[name] = frame[name].astype("category" if name in forest.domains else "float64")
    return data.encode_categorical(frame, forest.names, forest.domains), frame


def make_ready(work: Work, count: int, check_rows: int) -> Ready:
    """Reads the model, makes the rows and asks the oracle; the files go under `target/peers/work`."""
    path, forest = _read(work)
    folder = train.CACHE / "work" / work.model.replace(":", "_")
    folder.mkdir(parents=True, exist_ok=True)
    x, frame = _rows(work, forest, count)
    rows = folder / "rows.f32"
    x.tofile(rows)
    frame_path = None
    if frame is not None:
        frame_path = folder / "frame.pickle"
        frame_path.write_bytes(pickle.dumps(frame))
    context = folder / "context.pickle"
    shape: dict[str, float] = {}
    if work.group == "glm":
        n_trees = 1
        context.write_bytes(pickle.dumps(forest))
    else:
        n_trees = len(forest.flat())
        shape = forest.shape(x[:1000])
        bare = type(forest)(
            [[None] * forest.n_classes] * len(forest.trees),
            forest.init, forest.names, forest.domains, forest.category, forest.algo,
        )  # fmt: skip
        context.write_bytes(pickle.dumps(bare))
    nan_rows = bool(np.isnan(x).any())
    margins = forest.margins(x[:check_rows])
    return Ready(work, path, forest, x.shape[1], n_trees, nan_rows, folder, rows, frame_path, context, margins, shape)
