"""The models that serve: opened and proved off the event loop, swapped by one reference, with a canary beside the active one.

The invariant: a request sees one model from beginning to end, and a model that fails its digest, its binding to the view or its
self-test never serves.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from opentelemetry.trace import NoOpTracer, Tracer

from .telemetry import MODEL, ROWS, SCORE, SWAP

Row = dict[str, Any]


class Scorer(Protocol):
    """What the service asks of a model: cenote.Model has it."""

    def predict(self, data: Any) -> Any: ...


class ModelRefused(Exception):
    """The model is not the one that was promised, or does not work. The one that serves goes on serving."""


@dataclass(frozen=True)
class Loaded:
    """A model that has been proved. `plan` fetches and scores by key, where there is a feature store."""

    scorer: Scorer
    digest: str
    version: str = ""
    plan: Any = None


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


class Models:
    def __init__(self, slots: Slots, *, threads: int = 2, tracer: Tracer | None = None) -> None:
        self._slots, self._tracer = slots, tracer or NoOpTracer()
        # Scoring has threads of its own, so that it never waits behind file or DNS work of the default executor.
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="score")
        self._swapping = asyncio.Lock()
        self._show()

    @property
    def slots(self) -> Slots:
        return self._slots

    async def swap(self, make: Callable[[], Awaitable[Slots]]) -> Slots:
        """Make new slots, then let them serve. If making fails, the old ones stay. Requests in flight keep theirs."""
        async with self._swapping:
            try:
                new = await make()
            except BaseException:
                SWAP.labels("refused").inc()
                raise
            self._slots = new
            SWAP.labels("done").inc()
            self._show()
            return new

    async def score(self, rows: list[Row], entity: str = "") -> tuple[list[Row], Loaded]:
        """Predictions in the order of `rows`, and the model that made them."""
        role, model = self._slots.choose(entity)
        ROWS.observe(len(rows))
        with self._tracer.start_as_current_span("score", attributes={"rows": len(rows), "model": model.digest[:12]}):
            start = time.perf_counter()
            if len(rows) == 1:
                # One row takes microseconds: less than handing it to a thread.
                out = [model.scorer.predict(rows[0])]
            else:
                out = await asyncio.get_running_loop().run_in_executor(self._threads, model.scorer.predict, rows)
            SCORE.labels(role).observe(time.perf_counter() - start)
        return out, model

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _show(self) -> None:
        MODEL.clear()
        for role, model in (("active", self._slots.active), ("canary", self._slots.canary)):
            if model is not None:
                MODEL.labels(role, model.digest, model.version).set(1)
