"""The models that serve: loaded and verified off the event loop, swapped by one reference, with a canary beside the active one.

The invariant: a request sees one model from beginning to end, and a model that fails its digest or its self-test never serves.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .telemetry import MODEL, ROWS, SCORE

Row = dict[str, Any]


class Scorer(Protocol):
    """What the service asks of a model: cenote.Model has it."""

    def predict(self, data: Any) -> Any: ...


class ModelRefused(Exception):
    """The file is not the model that was promised."""


@dataclass(frozen=True)
class Loaded:
    scorer: Scorer
    digest: str


@dataclass(frozen=True)
class Slots:
    """What serves now. Replaced whole, never changed."""

    active: Loaded
    canary: Loaded | None = None
    canary_share: float = 0.0

    def choose(self, entity: str) -> tuple[str, Loaded]:
        """The model for an entity: the same entity always meets the same one."""
        if self.canary is not None and self.canary_share > 0:
            place = int.from_bytes(hashlib.blake2b(entity.encode(), digest_size=8).digest()) / 2**64
            if place < self.canary_share:
                return "canary", self.canary
        return "active", self.active


def load(path: Path, sha256: str | None, open_model: Callable[[bytes], Scorer], golden: list[Row] | None = None) -> Loaded:
    """Read, verify and try a model. Blocks: call it in a thread. Raises ModelRefused, OSError, or what the reader says."""
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256:
        raise ModelRefused(f"{path.name} has sha256 {digest}, not {sha256}")
    scorer = open_model(data)
    if golden:
        rows = scorer.predict([row["input"] for row in golden])
        for number, (got, row) in enumerate(zip(rows, golden, strict=True)):
            for name, wanted in row["expected"].items():
                if got[name] != wanted and not (
                    isinstance(wanted, float) and abs(got[name] - wanted) <= 1e-9 * max(1.0, abs(wanted))
                ):
                    raise ModelRefused(f"golden row {number}: {name} is {got[name]!r}, not {wanted!r}")
    return Loaded(scorer, digest)


class Models:
    def __init__(self, slots: Slots, *, threads: int = 2) -> None:
        self._slots = slots
        # Scoring has threads of its own, so that it never waits behind file or DNS work of the default executor.
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="score")
        self._swapping = asyncio.Lock()
        self._show()

    @property
    def slots(self) -> Slots:
        return self._slots

    async def swap(self, make: Callable[[], Slots]) -> Slots:
        """Make new slots in a thread, then let them serve. If making fails, the old ones stay. Requests in flight keep theirs."""
        async with self._swapping:
            new = await asyncio.to_thread(make)
            self._slots = new
            self._show()
            return new

    async def score(self, rows: list[Row], entity: str = "") -> tuple[list[Row], str]:
        """Predictions in the order of `rows`, and the digest of the model that made them."""
        role, model = self._slots.choose(entity)
        ROWS.observe(len(rows))
        start = time.perf_counter()
        if len(rows) == 1:
            # One row takes microseconds: less than handing it to a thread.
            out = [model.scorer.predict(rows[0])]
        else:
            out = await asyncio.get_running_loop().run_in_executor(self._threads, model.scorer.predict, rows)
        SCORE.labels(role).observe(time.perf_counter() - start)
        return out, model.digest

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _show(self) -> None:
        MODEL.clear()
        MODEL.labels("active", self._slots.active.digest).set(1)
        if self._slots.canary is not None:
            MODEL.labels("canary", self._slots.canary.digest).set(1)
