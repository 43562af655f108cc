"""The models that serve, as one value that is replaced whole, and the scoring of rows by them.

The invariant: a request sees one model from beginning to end.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from opentelemetry.trace import NoOpTracer, Tracer

from .store import ByKey
from .telemetry import ROWS, SCORE

Row = dict[str, Any]


class Scorer(Protocol):
    """What the service asks of a model: cenote.Model has it."""

    def predict(self, data: Any) -> Any: ...


class ModelRefused(Exception):
    """The model is not the one that was promised, or does not work. The one that serves goes on serving."""


@dataclass(frozen=True)
class Loaded:
    """A model that has been proved. `by_key` fetches and scores, where there is a feature store.

    `answers` names all that an answer by key depends on, for the cache; `versions` are those that may give one.
    """

    scorer: Scorer
    digest: str
    version: str
    by_key: ByKey | None = None
    answers: str = ""
    versions: frozenset[int | None] = frozenset([None])

    def named(self, version: int | None) -> str:
        """What a caller is told of the version that answered."""
        return self.version if version is None else f"{self.version.partition(':')[0]}:{version}"


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
    """Scores rows by what `now()` says serves."""

    def __init__(self, now: Callable[[], Slots], *, threads: int = 2, tracer: Tracer | None = None) -> None:
        self._now, self._tracer = now, tracer or NoOpTracer()
        # Scoring has threads of its own, so that it never waits behind file or DNS work of the default executor.
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="score")

    @property
    def slots(self) -> Slots:
        return self._now()

    async def score(self, rows: list[Row], entity: str = "") -> tuple[list[Row], Loaded]:
        """Predictions in the order of `rows`, and the model that made them."""
        role, model = self.slots.choose(entity)
        ROWS.observe(len(rows))
        with self._tracer.start_as_current_span("score", attributes={"rows": len(rows), "model": model.version}):
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
