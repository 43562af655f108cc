"""Processes that take part: each runtime in one of its own, which stays alive from the first work to the last."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import multiprocessing
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .engines import ENGINES, ON_ARRAYS, ON_FRAMES, CannotHold, Engine, NumpyGlm
from .train import CACHE, PEERS, ROOT
from .works import Ready


class PeerError(Exception):
    """A worker failed, or answered that it could not."""


@dataclass(frozen=True)
class Contestant:
    """`who` of the table; `engine` is a key of `ENGINES`, or `java:API`, or `rust:MODE`; `isa` is cenote's."""

    who: str
    engine: str
    isa: str = ""
    least_batch: int = 1

    @property
    def reads_mojo(self) -> bool:
        """Whether it opens the MOJO itself."""
        return self.engine not in ENGINES or ENGINES[self.engine].reads_mojo

    @property
    def note(self) -> str:
        """What a reader of the table should know of it."""
        return ENGINES[self.engine].note if self.engine in ENGINES else RUST_NOTES.get(self.who, "")


RUST = Contestant("cenote", "rust:predictions")
RUST_SUMS = Contestant("cenote_sums", "rust:sums", least_batch=8)
RUST_AVX2 = Contestant("cenote_avx2", "rust:predictions", isa="avx2")
OURS = (RUST, RUST_SUMS, RUST_AVX2)
RUST_NOTES = {
    "cenote_sums": "what the trees sum to, as the other runtimes are asked for: no link, no label",
    "cenote_avx2": "as cenote, by AVX2 instructions alone",
}
SCORE0 = Contestant("genmodel", "java:score0")
EASY = Contestant("genmodel_easy", "java:easy")
ARRAYS = tuple(Contestant(engine.name, engine.name) for engine in ON_ARRAYS)
FRAMES = tuple(Contestant(engine.name, f"frame:{engine.name}") for engine in ON_FRAMES)
WHEEL = next(c for c in ARRAYS if c.who == "cenote_python")

# In `load`, oneDAL is not there: daal4py has no file of its own and converts XGBoost's, which takes seconds.
GROUPS: dict[str, tuple[Contestant, ...]] = {
    "trees": (*OURS, *ARRAYS, SCORE0),
    "depth": (RUST, RUST_AVX2, *(c for c in ARRAYS if c.who not in ("catboost_oblivious", "tl2cgen")), SCORE0),
    "row": (RUST, RUST_AVX2, *ARRAYS, SCORE0, EASY),
    "glm": (RUST, RUST_AVX2, WHEEL, Contestant("numpy", NumpyGlm.name), SCORE0, EASY),
    "frame": (*FRAMES, SCORE0, EASY),
    "first": (RUST, SCORE0),
    "load": (RUST, *(c for c in ARRAYS if c.who not in ("catboost_oblivious", "onedal", "ydf_engine")), SCORE0),
}
QUICK = ("cenote", "cenote_sums", "cenote_avx2", "cenote_python", "genmodel", "xgboost", "lightgbm", "onnxruntime")


def h2o_jar() -> Path:
    """The jar inside the h2o package, which holds genmodel."""
    import h2o

    return Path(h2o.__file__).parent / "backend" / "bin" / "h2o.jar"


def compile_java() -> None:
    """Compiles `Bench.java` against the jar."""
    classes = CACHE / "java"
    classes.mkdir(parents=True, exist_ok=True)
    command = ["javac", "-cp", str(h2o_jar()), "-d", str(classes), str(PEERS / "Bench.java")]
    subprocess.run(command, check=True)


def rust_binary() -> Path:
    """cenote's worker, built by cargo from the `benches` package."""
    return ROOT / "target" / "release" / "peers-worker"


def _command(engine: str, threads: int) -> list[str]:
    if engine.startswith("rust:"):
        mode = engine.removeprefix("rust:")
        return [str(rust_binary()), str(threads), *(["sums"] if mode == "sums" else [])]
    if engine.startswith("java:"):
        collector = "-XX:+UseSerialGC" if threads == 1 else "-XX:+UseParallelGC"
        path = f"{CACHE / 'java'}{os.pathsep}{h2o_jar()}"
        return ["java", "-Xmx3g", collector, "-cp", path, "Bench", engine.removeprefix("java:"), str(threads)]
    return [sys.executable, "-W", "ignore", "-m", "cenote_peers.worker", engine, str(threads)]


# A runtime chooses its instructions, threads and heap by itself: what the caller's shell says of them is not handed on.
HANDICAPS = (
    "OPENBLAS_", "MKL_", "OMP_", "KMP_", "GOMP_", "DAAL", "ONEDAL", "TBB_", "BLIS_", "NPY_", "ORT_", "XGBOOST_",
    "RAYON_", "GLIBC_TUNABLES", "MALLOC_", "LD_PRELOAD", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS",
    "CENOTE_ISA", "CENOTE_ENGINE",
)  # fmt: skip


def _environment(contestant: Contestant, threads: int) -> dict[str, str]:
    """The caller's environment, less what slows a runtime down, with the number of threads."""
    count = str(threads)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(HANDICAPS)}
    return kept | {
        "PYTHONPATH": str(PEERS),
        "OMP_NUM_THREADS": count,
        "OMP_WAIT_POLICY": "PASSIVE",  # an idle team must not spin into the next runtime's turn
        "OPENBLAS_NUM_THREADS": count,
        "RAYON_NUM_THREADS": count,
        **({"CENOTE_ISA": contestant.isa} if contestant.isa else {}),
    }


class Process:
    """A worker and the two ends of its pipe."""

    def __init__(self, contestant: Contestant, threads: int) -> None:
        self.contestant = contestant
        if contestant.engine.startswith("rust:") and not rust_binary().exists():
            raise PeerError("its worker is not built (cargo build --release -p cenote-bench --bin peers-worker)")
        log = CACHE / "logs" / f"{contestant.who}-{threads}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as sink:
            self._process = subprocess.Popen(
                _command(contestant.engine, threads),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, text=True,
                env=_environment(contestant, threads),
            )  # fmt: skip
        self._said_ready = False

    def ask(self, *words: object, patience: float = 300.0) -> str:
        """Sends a line and gives the answer.

        Raises `CannotHold` if the worker says so, `PeerError` if it fails, ends, or takes over `patience` seconds.
        """
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            if not self._said_ready:
                self._line(patience)
                self._said_ready = True
            process.stdin.write("\t".join(map(str, words)) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise PeerError(f"ended with {process.wait()}") from None
        answer = self._line(patience)
        if answer.startswith("error "):
            raise PeerError(answer.removeprefix("error "))
        if answer.startswith("cannot "):
            raise CannotHold(answer.removeprefix("cannot "))
        return answer

    def _line(self, patience: float) -> str:
        process = self._process
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], patience)[0]:
            process.kill()
            raise PeerError(f"no answer in {patience:.0f} s")
        line = process.stdout.readline().strip()
        if not line:
            raise PeerError(f"ended with {process.wait()}")
        return line

    def close(self) -> None:
        """Closes the pipe, at which the worker ends."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def _build_apart(engine: Engine, ready: Ready, path: Path) -> None:
    """Has a child of this process build, and ends it and its own children (compilers) when the time is over."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)

    def work() -> None:
        os.setsid()
        try:
            engine.build(ready.forest, ready.nan_rows, path)
            theirs.send(None)
        except CannotHold as reason:
            theirs.send(CannotHold(str(reason)))
        except Exception as error:  # a runtime's failure is told, whatever it is
            theirs.send(PeerError(f"{type(error).__name__}: {error}"))

    child = fork.Process(target=work)
    child.start()
    theirs.close()
    try:
        if not ours.poll(engine.build_seconds):
            raise PeerError(f"not handed over in {engine.build_seconds:.0f} s")
        if failure := ours.recv():
            raise failure
    except EOFError:
        raise PeerError("the process that hands the forest over died") from None
    finally:
        child.join(1)  # it ends by itself once it has answered
        if child.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        child.join()


def build(contestant: Contestant, ready: Ready) -> Path:
    """The file that the contestant opens; kept until the MOJO or the conversion changes.

    Raises `CannotHold`.
    """
    if contestant.reads_mojo or contestant.engine == NumpyGlm.name:
        return ready.mojo
    engine = ENGINES[contestant.engine](1)
    kept = engine.name.removesuffix("_pandas").removesuffix("_engine")
    path = ready.folder / f"{kept}{engine.suffix}"
    stamp = ready.folder / f"{kept}.stamp"
    sources = b"".join(
        Path(source).read_bytes() for source in sorted({*map(inspect.getfile, type(engine).__mro__[:-1])})
    )
    wanted = hashlib.sha256(ready.mojo.read_bytes() + sources + bytes([ready.nan_rows])).hexdigest()
    if not (path.exists() and stamp.exists() and stamp.read_text() == wanted):
        start = time.perf_counter()
        shutil.rmtree(path, ignore_errors=True)  # YDF's is a folder, and it adds to one that is there
        _build_apart(engine, ready, path)
        stamp.write_text(wanted)
        print(f"    {contestant.who}: forest handed over in {time.perf_counter() - start:.1f} s", file=sys.stderr)
    return path


def difference(ready: Ready, process: Process) -> tuple[float, float]:
    """The largest difference of a worker's outputs from the oracle's on the first rows, and the tolerance.

    A runtime that sums in float32 may stray by `trees x 2^-24 x the largest sum`, one in float64 by 1e-9 of it.
    """
    out = ready.folder / "check.f64"
    rows = len(ready.margins)
    width, what = process.ask("check", rows, out).split()[1:]
    given = np.fromfile(out).reshape(rows, int(width))
    in_float64 = process.contestant.reads_mojo or ENGINES[process.contestant.engine].sums_in == "float64"
    if what == "sums":
        wanted = ready.margins
        scale = float(np.abs(wanted).max())
    else:
        wanted = ready.forest.predictions(ready.margins)
        scale = 1.0
    if given.shape != wanted.shape:
        raise PeerError(f"gave {given.shape[1]} numbers a row where {wanted.shape[1]} were awaited")
    tolerance = 1e-9 * max(1.0, scale) if in_float64 else ready.forest.float32_tolerance()
    return float(np.abs(given - wanted).max()), tolerance


def takes_part(group: str, only: Sequence[str]) -> list[Contestant]:
    """The contestants of a group, or those of them that are named."""
    return [c for c in GROUPS[group] if not only or c.who in only]


__all__ = ["CannotHold", "Contestant", "PeerError", "Process", "build", "difference", "takes_part"]
