"""The feature store for asyncio, whose event loop never waits.

Reads of keys go to one thread that asks the server for all of them and never holds the interpreter; other calls are the blocking
store's, on threads of their own. An await that is cancelled cancels its query at the server.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from cenote._cenote import (
    AsyncReads,
    Call,
    Cancellation,
    FeatureSet,
    FeatureStore,
    Features,
    Mailbox,
    Model,
    ModelVersion,
    Replay,
    Score,
    ScorePlan,
    Scores,
    ServedModel,
    Upserted,
    View,
)

__all__ = ["AsyncFeatureStore", "AsyncScorePlan", "AsyncServedModel"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


class _Threads:
    """Threads, each with a connection of its own, and the calls that run on them."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="cenote-store")

    async def run(self, call: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        loop = asyncio.get_running_loop()
        cancellation = Cancellation()
        work = functools.partial(cancellation.run, call, *args, **kwargs)
        try:
            return await loop.run_in_executor(self._pool, work)
        except asyncio.CancelledError:
            cancellation.cancel()
            raise

    def end(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Reads:
    """Reads on the thread that asks the server; each event loop has a mailbox for its answers."""

    def __init__(self, store: FeatureStore, connections: int) -> None:
        self._reads = AsyncReads(store, connections)
        self._mailboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = WeakKeyDictionary()

    async def run(self, begin: Callable[..., Call], *args: Any) -> Any:
        loop = asyncio.get_running_loop()
        mailbox = self._mailboxes.get(loop)
        if mailbox is None:
            mailbox = self._mailboxes[loop] = Mailbox()
            loop.add_reader(mailbox.fileno(), mailbox.deliver)
        future: asyncio.Future[Any] = loop.create_future()
        call = begin(mailbox, future, *args)
        try:
            return await future
        except asyncio.CancelledError:
            call.cancel()
            raise

    async def get(self, view: View, key: Any, features: Sequence[str] | None) -> Features:
        found: Features = await self.run(self._reads.get, view, key, features)
        return found

    async def get_many(self, view: View, keys: Iterable[Any], features: Sequence[str] | None) -> FeatureSet:
        found: FeatureSet = await self.run(self._reads.get_many, view, keys, features)
        return found

    async def score(self, plan: ScorePlan, key: Any) -> Score:
        score: Score = await self.run(self._reads.score, plan, key)
        return score

    def end(self) -> None:
        loop = asyncio.get_running_loop()
        mailbox = self._mailboxes.get(loop)
        if mailbox is not None:
            loop.remove_reader(mailbox.fileno())
        self._reads.close()


class AsyncFeatureStore:
    """A store of features in PostgreSQL, for asyncio. Make one with :meth:`connect`.

    Each method is that of :class:`FeatureStore`, awaited. Up to ``connections`` reads and as many other calls are under way at a
    time; more wait in turn, reads at most until their deadline. Cancelling an await cancels its query at the server.
    """

    def __init__(self, store: FeatureStore, connections: int) -> None:
        self._store = store
        self._threads = _Threads(connections)
        self._reads = _Reads(store, connections)

    @classmethod
    async def connect(
        cls,
        dsn: str,
        *,
        connections: int = 8,
        schema: str | None = None,
        read_timeout: float | None = None,
        write_timeout: float | None = None,
        root_certificates: str | os.PathLike[str] | None = None,
    ) -> AsyncFeatureStore:
        """Connect to a database; see :meth:`FeatureStore.connect`.

        :param connections: how many calls may be under way at a time.
        """
        store = await asyncio.to_thread(
            FeatureStore.connect, dsn, schema=schema, read_timeout=read_timeout, write_timeout=write_timeout,
            root_certificates=root_certificates)
        return cls(store, connections)

    async def apply(self, view: View) -> None:
        """As :meth:`FeatureStore.apply`."""
        await self._threads.run(self._store.apply, view)

    async def verify(self, view: View) -> None:
        """As :meth:`FeatureStore.verify`."""
        await self._threads.run(self._store.verify, view)

    async def upsert(self, view: View, data: Any) -> Upserted:
        """As :meth:`FeatureStore.upsert`."""
        return await self._threads.run(self._store.upsert, view, data)

    async def get(self, view: View, key: Any, *, features: Sequence[str] | None = None) -> Features:
        """As :meth:`FeatureStore.get`."""
        return await self._reads.get(view, key, features)

    async def get_many(self, view: View, keys: Iterable[Any], *, features: Sequence[str] | None = None) -> FeatureSet:
        """As :meth:`FeatureStore.get_many`."""
        return await self._reads.get_many(view, keys, features)

    async def load_model(self, reference: str) -> Model:
        """As :meth:`FeatureStore.load_model`."""
        return await self._threads.run(self._store.load_model, reference)

    async def plan(
        self,
        model: Model,
        view: View,
        *,
        columns: Mapping[str, str] | None = None,
        request: Sequence[str] | None = None,
        absent: Sequence[str] | None = None,
        on_missing: Literal["na", "error"] = "na",
        on_stale: Literal["na", "use", "error"] = "na",
        unseen_levels: Literal["na", "error"] = "error",
    ) -> AsyncScorePlan:
        """As :meth:`FeatureStore.plan`."""
        plan = await self._threads.run(
            self._store.plan, model, view, columns=columns, request=request, absent=absent, on_missing=on_missing,
            on_stale=on_stale, unseen_levels=unseen_levels)
        return AsyncScorePlan(plan, self._threads, self._reads)

    async def watch_model(
        self,
        reference: str,
        view: View,
        *,
        columns: Mapping[str, str] | None = None,
        request: Sequence[str] | None = None,
        absent: Sequence[str] | None = None,
        on_missing: Literal["na", "error"] = "na",
        on_stale: Literal["na", "use", "error"] = "na",
        unseen_levels: Literal["na", "error"] = "error",
        trusted_keys: Sequence[str] | None = None,
    ) -> AsyncServedModel:
        """As :meth:`FeatureStore.watch_model`."""
        served = await self._threads.run(
            self._store.watch_model, reference, view, columns=columns, request=request, absent=absent,
            on_missing=on_missing, on_stale=on_stale, unseen_levels=unseen_levels, trusted_keys=trusted_keys)
        return AsyncServedModel(served, self._threads)

    async def record(self, view: View, key: Any, score: Score) -> str:
        """As :meth:`FeatureStore.record`."""
        return await self._threads.run(self._store.record, view, key, score)

    async def replay(self, id: str) -> Replay:
        """As :meth:`FeatureStore.replay`."""
        return await self._threads.run(self._store.replay, id)

    async def close(self) -> None:
        """Close the store and end its threads."""
        self._reads.end()
        self._store.close()
        self._threads.end()

    async def __aenter__(self) -> AsyncFeatureStore:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()


class AsyncScorePlan:
    """A model bound to a view, for asyncio. Make one with :meth:`AsyncFeatureStore.plan`."""

    def __init__(self, plan: ScorePlan, threads: _Threads, reads: _Reads) -> None:
        self._plan = plan
        self._threads = threads
        self._reads = reads

    @property
    def model(self) -> Model:
        """The model that is bound."""
        return self._plan.model

    @property
    def view(self) -> View:
        """The view that it is bound to."""
        return self._plan.view

    async def score(self, key: Any, request: dict[str, Any] | None = None) -> Score:
        """As :meth:`ScorePlan.score`."""
        if request is None:
            return await self._reads.score(self._plan, key)
        return await self._threads.run(self._plan.score, key, request)

    async def score_many(self, keys: Iterable[Any], request: Any | None = None) -> Scores:
        """As :meth:`ScorePlan.score_many`."""
        return await self._threads.run(self._plan.score_many, keys, request)


class AsyncServedModel:
    """An alias of the model registry at work on a view, for asyncio. Make one with :meth:`AsyncFeatureStore.watch_model`.

    ``served`` is the :class:`ServedModel`, whose properties never wait for the database but for ``model``.
    """

    def __init__(self, served: ServedModel, threads: _Threads) -> None:
        self.served = served
        self._threads = threads

    @property
    def version(self) -> ModelVersion:
        """The version that answers for most keys now."""
        return self.served.version

    async def score(self, key: Any, request: dict[str, Any] | None = None) -> Score:
        """As :meth:`ServedModel.score`."""
        return await self._threads.run(self.served.score, key, request)

    async def score_many(self, keys: Iterable[Any], request: Any | None = None) -> Scores:
        """As :meth:`ServedModel.score_many`."""
        return await self._threads.run(self.served.score_many, keys, request)
