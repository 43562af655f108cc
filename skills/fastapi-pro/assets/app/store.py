"""Entity keys -> features and scores, by the feature store of cenote: one query a call, within a deadline, behind one breaker.

This is the seam to the wheel: the rest of the service knows a store, keys as the view has them, and answers by key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import cenote
from opentelemetry.trace import Tracer

from .breaker import Breaker, CircuitOpen
from .telemetry import STATUS, STORE

T = TypeVar("T")
Key = tuple[Any, ...]
UNAVAILABLE = (cenote.StoreError, CircuitOpen, TimeoutError)
"""What a call raises while the store does not answer."""


class KeyRefused(ValueError):
    """The text is no key of the view."""


class Store:
    def __init__(
        self, store: cenote.FeatureStore, view: cenote.View, *, connections: int, timeout: float, on_stale: str, tracer: Tracer
    ) -> None:
        self.view, self._timeout, self._on_stale, self._tracer = view, timeout, on_stale, tracer
        self._store = cenote.AsyncFeatureStore(store, connections)
        self._keys = [(k["name"], k["type"]) for k in view.to_dict()["keys"]]
        self._breaker = Breaker("postgres", (cenote.StoreTimeoutError, cenote.StoreConnectionError))

    @classmethod
    async def open(cls, store: cenote.FeatureStore, path: Path, **options: Any) -> Store:
        """A store whose tables are as the view's file says. Raises cenote.SchemaDriftError where they are not."""
        view = cenote.View(await asyncio.to_thread(path.read_text, encoding="utf-8"))
        opened = cls(store, view, **options)
        await opened._store.verify(view)
        return opened

    def key(self, text: str) -> Key:
        """The key that `text` names; the parts of a composite key are joined by commas."""
        parts = text.split(",")
        try:
            return tuple(part(kind, one) for (_, kind), one in zip(self._keys, parts, strict=True))
        except ValueError:
            raise KeyRefused(f"the key is {', '.join(f'{name} ({kind})' for name, kind in self._keys)}") from None

    async def features(self, keys: Sequence[Key]) -> list[dict[str, Any] | None]:
        """The features of each key, in order; None where there is no row."""
        found = await self._call("features", lambda: self._store.get_many(self.view, [bare(k) for k in keys]))
        columns = found.to_dict()
        return [
            None
            if status == "missing"
            else {name: json_ready(column[i]) for name, column in columns.items() if name in self.view.features}
            for i, status in enumerate(self._counted(found.status))
        ]

    async def bind(self, model: cenote.Model) -> cenote.AsyncScorePlan:
        """Prove that the view delivers each input of a model, and plan its fetch. Raises cenote.SchemaDriftError where it does not."""
        return await self._store.plan(model, self.view, on_stale=self._on_stale, unseen_levels="na")  # type: ignore[arg-type]

    async def score(self, plan: cenote.AsyncScorePlan, key: Key) -> dict[str, Any] | None:
        """Fetch and score one key; None where there is no row."""
        answer = await self._call("score", lambda: plan.score(bare(key)))
        self._counted([answer.status])
        return None if answer.status == "missing" else {"status": answer.status, "prediction": answer.prediction}

    async def score_many(self, plan: cenote.AsyncScorePlan, keys: Sequence[Key]) -> list[dict[str, Any] | None]:
        """Fetch and score keys by one query; None where there is no row."""
        answer = await self._call("score", lambda: plan.score_many([bare(k) for k in keys]))
        rows = zip(self._counted(answer.status), answer.to_dicts(), strict=True)
        return [None if status == "missing" else {"status": status, "prediction": row} for status, row in rows]

    async def ready(self) -> bool:
        """Whether the view's tables are there and answer."""
        await self._breaker.call(lambda: self._store.verify(self.view), timeout=max(1.0, self._timeout))
        return True

    async def close(self) -> None:
        await self._store.close()

    async def _call(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        STORE.labels(name).inc()
        with self._tracer.start_as_current_span(f"store {name}", attributes={"view": self.view.name}):
            return await self._breaker.call(work, timeout=self._timeout)

    @staticmethod
    def _counted(statuses: Sequence[str]) -> Sequence[str]:
        for status in set(statuses):
            STATUS.labels(status).inc(statuses.count(status))
        return statuses


def bare(key: Key) -> Any:
    return key[0] if len(key) == 1 else key


def part(kind: str, text: str) -> Any:
    """One part of a key, as its column has it. Raises ValueError."""
    if kind in ("i16", "i32", "i64"):
        return int(text)
    if kind == "bool":
        return {"true": True, "false": False}[text] if text in ("true", "false") else int("not a bool")
    return datetime.fromisoformat(text) if kind == "timestamp" else text


def json_ready(value: Any) -> Any:
    """Times as H2O knows them: milliseconds since 1970."""
    return value.timestamp() * 1000 if isinstance(value, datetime) else value
