"""The method in words, with the machine and the versions of the run."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from .engines import ENGINES

if TYPE_CHECKING:
    from .bench import Outcome, Plan

METHOD = """## Method

Each runtime lives in a process of its own, opens the model and {plan.rows:,} rows, and is then called in turn with the
others: each times one cell (runtime, batch size, threads) for {plan.sample_seconds} s, at least one whole batch, before
any has its next turn. There are {plan.rounds} rounds; a cell that has taken {plan.cell_seconds:.0f} s in all has no
further one. `peers.csv` holds the least of the rounds, `peers_median.csv` the middle. All works go first by one
thread, then by {plan.all_threads}. A batch that would take over {plan.longest:.0f} s is not begun, and one that took
one thread over {plan.longest_shared:.0f} s is not given to more. Java is warmed before.

Threads are fixed by each runtime's own setting and by OMP_NUM_THREADS and RAYON_NUM_THREADS; whatever else the shell
says of instructions, heaps and threads (OPENBLAS_CORETYPE and its like) is taken from everybody's environment. With one
thread the time is the less of the clock's and the processor's (children's included), so that a busy machine does not
count against whoever had the turn; with more it is the clock's, and means little unless the machine was quiet.

The trees are those of the MOJO, handed over split by split by `cenote_peers/engines`; every number in the rows is a
float32, so that nobody sees another value. Before the clock starts the outputs on {plan.check_rows:,} rows are compared
with a plain NumPy walk over the same trees: `peers_notes.csv` has the largest difference and the tolerance (float32
sums: trees x 2^-24 x the largest possible sum; float64: 1e-9). One that differs by more is not timed.

Inside the clock is, for everyone, the call from the language it is made for, with rows in the form it likes best and
cut into batches beforehand:

- `cenote`: the Rust library from float64 columns in memory to predictions, link and label too; a batch of one by
  `Model::predict_raw`, from a slice to probabilities; the wheel in `pandas_100k`. `cenote_sums`: the same columns to
  what the trees sum to (`Model::tree_sums`), which is what most others are asked for. `cenote_avx2`: `cenote` with
  CENOTE_ISA=avx2. `cenote_python`: the wheel, from a float64 NumPy array to predictions.
- `genmodel`: Java's `score0(double[], double[])`; `genmodel_easy`: its `EasyPredictModelWrapper` on prepared `RowData`.
- The Python runtimes: from float32 arrays to sums without the link. `ydf_engine` is YDF's own benchmark of its C++
  engine, without the copy that its Python call makes. `catboost_oblivious` has a forest of its own whose trees ask one
  question a level: an easier problem.

`ns_per_row_tree` is time / rows / trees, all classes' trees counted; for the GLM, time / rows. In `load` a row is one
opening of the model `drf_100x20_numeric` in the runtime's own format (cenote and genmodel: the MOJO), again and again;
in `load_first` the first opening in a process that has just begun, as a service pays it. `pandas_100k`
starts from a pandas frame with categorical columns, except for genmodel, whose rows are already in Java's memory;
`xgboost_pandas` and `lightgbm_pandas` encode levels to codes inside the clock.

`evenness` is the share of the smaller side at a visited node, averaged over visits: 0.5 is a coin, and a low figure
helps whoever predicts branches.
"""


def _cpu() -> list[str]:
    """The processor, and which vector units it has."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return [platform.processor() or platform.machine()]
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].replace("\t", "").splitlines() if ":" in line)
    flags = set(fields.get("flags", "").split())
    units = [name for name in ("avx2", "avx512f", "avx512bw", "avx512vbmi") if name in flags]
    name = f"{fields.get('model name', '?').strip()}, family {fields.get('cpu family', '?').strip()}"
    return [f"{name} model {fields.get('model', '?').strip()}, {os.cpu_count()} cores", ", ".join(units)]


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "?"
    return (done.stdout or done.stderr).splitlines()[0].strip()


def _commit() -> str:
    return _said("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*")


def versions() -> dict[str, str]:
    """Of every package that took part, of Java and of cenote."""
    found = {}
    for package in sorted({engine.package for engine in ENGINES.values()} | {"h2o", "pandas", "numpy"}):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found | {"java": _said("java", "-version"), "python": platform.python_version(), "commit": _commit()}


def describe(outcome: Outcome, plan: Plan) -> str:
    """Markdown: machine, versions, how it was measured, the forests' shapes, and who was left out and why."""
    lines = [
        "# How `peers.csv` was measured",
        "",
        f"Written by `make peers` on {datetime.date.today().isoformat()}.",
        "",
        "## Machine and versions",
        "",
        *(f"- {line}" for line in _cpu()),
        f"- {platform.system()} {platform.release()}, load average at the end {os.getloadavg()[0]:.1f}",
        *(f"- {name} {version}" for name, version in versions().items()),
        "",
        METHOD.format(plan=plan),
        "## Forests",
        "",
        "| work | trees | leaves a tree | depth | visits a row a tree | thresholds a column | evenness |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for work, shape in outcome.shapes.items():
        if shape:
            lines.append(f"| {work} | " + " | ".join(f"{value:g}" for value in shape.values()) + " |")
    lines += ["", "## Left out", ""]
    lines += [
        f"- `{note['work']}` {note['who']}: {str(note['note']).removeprefix('left out: ')}"
        for note in outcome.notes
        if str(note["note"]).startswith("left out")
    ]
    return "\n".join(lines) + "\n"
