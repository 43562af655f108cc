"""Entity keys -> features and scores, by the feature store of cenote: one query a call, within a deadline, behind one breaker.

This is the seam to the wheel: the rest of the service knows a store, keys as the view has them, and answers by key. The wheel's calls
block with the GIL released; they run on threads of the store's own, each of which has a connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import cenote
from opentelemetry.trace import Tracer

from .breaker import Breaker, CircuitOpen
from .telemetry import STATUS, STORE, breaker_changed

T = TypeVar("T")
Key = tuple[Any, ...]
UNAVAILABLE = (cenote.StoreError, CircuitOpen, TimeoutError)
"""What a call raises while the store does not answer."""


class KeyRefused(ValueError):
    """The text is no key of the view."""


class ByKey(Protocol):
    """What fetches and scores by key: a plan of one model, or an alias of the registry at work."""

    def score(self, key: Any) -> cenote.Score: ...
    def score_many(self, keys: Any) -> cenote.Scores: ...


class Store:
    def __init__(
        self, store: cenote.FeatureStore, view: cenote.View, *, connections: int, timeout: float, on_stale: str, tracer: Tracer
    ) -> None:
        self._store, self.view, self._timeout, self._tracer = store, view, timeout, tracer
        # A level that the view allows and the model has not seen counts as missing, as it does in H2O.
        self._binding: dict[str, Any] = {"on_stale": on_stale, "unseen_levels": "na"}
        self._keys = [(k["name"], k["type"]) for k in view.to_dict()["keys"]]
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="store")
        self._breaker = Breaker("postgres", (cenote.StoreTimeoutError, cenote.StoreConnectionError), changed=breaker_changed)

    @classmethod
    async def open(cls, store: cenote.FeatureStore, path: Path, **options: Any) -> Store:
        """A store whose tables are as the view's file says. Raises cenote.SchemaDriftError where they are not."""
        view = cenote.View(await asyncio.to_thread(path.read_text, encoding="utf-8"))
        opened = cls(store, view, **options)
        await opened._run(store.verify, view)
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
        found = await self._call("features", self._store.get_many, self.view, [bare(k) for k in keys])
        columns = {name: column for name, column in found.to_dict().items() if name in self.view.features}
        return [
            None if status == "missing" else {name: json_ready(column[i]) for name, column in columns.items()}
            for i, status in enumerate(self._counted(found.status))
        ]

    async def bind(self, model: cenote.Model) -> cenote.ScorePlan:
        """Prove that the view delivers each input of a model, and plan its fetch. Raises cenote.SchemaDriftError where it does not."""
        return await self._run(self._store.plan, model, self.view, **self._binding)

    async def serve(self, reference: str, trusted_keys: list[str] | None) -> cenote.ServedModel:
        """Put an alias of the registry to work and watch it. Raises cenote.StoreError where its model cannot be verified."""
        return await self._run(self._store.watch_model, reference, self.view, trusted_keys=trusted_keys, **self._binding)

    async def score(self, model: ByKey, key: Key) -> dict[str, Any] | None:
        """Fetch and score one key: status, prediction, and the version that answered; None where there is no row."""
        answer = await self._call("score", model.score, bare(key))
        self._counted([answer.status])
        if answer.status == "missing":
            return None
        return {"status": answer.status, "prediction": answer.prediction, "version": answer.version}

    async def score_many(self, model: ByKey, keys: Sequence[Key]) -> list[dict[str, Any] | None]:
        """Fetch and score keys by one query, as `score` does."""
        answer = await self._call("score", model.score_many, [bare(k) for k in keys])
        rows = zip(self._counted(answer.status), answer.to_dicts(), answer.versions, strict=True)
        return [
            None if status == "missing" else {"status": status, "prediction": row, "version": version}
            for status, row, version in rows
        ]

    async def ready(self) -> bool:
        """Whether the view's tables are there and answer."""
        await self._breaker.call(lambda: self._run(self._store.verify, self.view), timeout=max(1.0, self._timeout))
        return True

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: call(*args, **kwargs))

    async def _call(self, name: str, call: Callable[..., T], *args: Any) -> T:
        STORE.labels(name).inc()
        with self._tracer.start_as_current_span(f"store {name}", attributes={"view": self.view.name}):
            return await self._breaker.call(lambda: self._run(call, *args), timeout=self._timeout)

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
