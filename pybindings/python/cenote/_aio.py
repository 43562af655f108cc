"""The feature store for asyncio, whose event loop never waits.

The event loop itself drives the reads of keys, on sockets that never block; where the system does not let it, and for reads of
very many keys, a thread does. Other calls are the blocking store's, on threads of their own. An await that is cancelled cancels its
query at the server.
"""

from __future__ import annotations

import asyncio
import functools
import os
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Literal, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from cenote._cenote import (
    AsyncReads,
    Call,
    Cancellation,
    DecisionBuffer,
    Document,
    Erased,
    Features,
    FeatureSet,
    FeatureStore,
    Loaded,
    Mailbox,
    Maintained,
    Materialized,
    Model,
    ModelVersion,
    Replay,
    Score,
    ScorePlan,
    Scores,
    ServedModel,
    Stored,
    Upserted,
    View,
)
from cenote._errors import StoreError

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


# Seconds between the turns that an event loop takes while it waits for answers, for what only time makes due.
_BEAT = 0.004
# Reads of more keys than these go to a thread: to make columns of their answer would hold up the event loop.
_MANY = 2_000


class _Loop:
    """What an event loop watches for its reads."""

    def __init__(self, loop: asyncio.AbstractEventLoop, reads: AsyncReads) -> None:
        self.loop = weakref.ref(loop)
        self.mailbox = Mailbox()
        self._watched = [self.mailbox.fileno()]
        loop.add_reader(self.mailbox.fileno(), self.mailbox.deliver)
        poller = reads.fileno()
        if poller is None:
            return
        # A number of the loop's own, which is good for as long as the loop watches it.
        try:
            own = os.dup(poller)
        except OSError:
            return
        turn = functools.partial(reads.turn, self.mailbox)
        weakref.finalize(turn, os.close, own)
        # Otherwise another thread has closed the store meanwhile.
        if reads.fileno() == poller:
            self._watched.append(own)
            loop.add_reader(own, turn)

    def end(self) -> None:
        loop = self.loop()
        if loop is not None and not loop.is_closed():
            for number in self._watched:
                loop.remove_reader(number)
        self._watched.clear()


def _end(loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop]) -> None:
    for loop, watched in list(loops.items()):
        if not loop.is_closed():
            loop.call_soon_threadsafe(watched.end)


class _Reads:
    """Reads of keys, of which each event loop drives its own and those of others."""

    def __init__(self, store: FeatureStore, connections: int) -> None:
        reads = AsyncReads(store, connections)
        self.get, self.get_many = reads.get, reads.get_many
        self.score, self.score_served = reads.score, reads.score_served
        self._reads = reads
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop] = WeakKeyDictionary()
        self._last: _Loop | None = None
        weakref.finalize(self, _end, self._loops).atexit = False

    def _of(self, loop: asyncio.AbstractEventLoop) -> _Loop:
        last = self._last
        if last is not None and last.loop() is loop:
            return last
        last = self._loops.get(loop)
        if last is None:
            last = self._loops[loop] = _Loop(loop, self._reads)
        self._last = last
        return last

    async def run(self, begin: Callable[..., Call], *args: Any) -> Any:
        loop = asyncio.get_running_loop()
        mailbox = self._of(loop).mailbox
        future: asyncio.Future[Any] = loop.create_future()
        call = begin(mailbox, future, *args)
        if self._reads.begin_to_beat(mailbox):
            loop.call_later(_BEAT, self._beat, loop, mailbox)
        try:
            return await future
        except asyncio.CancelledError:
            call.cancel()
            raise

    def _beat(self, loop: asyncio.AbstractEventLoop, mailbox: Mailbox) -> None:
        if self._reads.beat(mailbox):
            loop.call_later(_BEAT, self._beat, loop, mailbox)

    async def end(self) -> None:
        try:
            await self.run(self._reads.settle)
        except StoreError:
            pass  # It was closed before.
        _end(self._loops)
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
        replicas: Sequence[str] | None = None,
        max_replica_lag: float | None = None,
        cache_bytes: int | None = None,
        cache_ttl: float | None = None,
        cache_redis: str | None = None,
    ) -> AsyncFeatureStore:
        """Connect to a database; see :meth:`FeatureStore.connect`.

        :param connections: how many calls may be under way at a time.
        """
        store = await asyncio.to_thread(
            FeatureStore.connect, dsn, schema=schema, read_timeout=read_timeout, write_timeout=write_timeout,
            root_certificates=root_certificates, replicas=replicas, max_replica_lag=max_replica_lag,
            cache_bytes=cache_bytes, cache_ttl=cache_ttl, cache_redis=cache_redis)
        return cls(store, connections)

    @property
    def cache_counters(self) -> dict[str, int]:
        """As :attr:`FeatureStore.cache_counters`."""
        return self._store.cache_counters

    async def notify_changes(self, view: View) -> None:
        """As :meth:`FeatureStore.notify_changes`."""
        await self._threads.run(self._store.notify_changes, view)

    async def apply(self, view: View) -> None:
        """As :meth:`FeatureStore.apply`."""
        await self._threads.run(self._store.apply, view)

    async def verify(self, view: View) -> None:
        """As :meth:`FeatureStore.verify`."""
        await self._threads.run(self._store.verify, view)

    async def upsert(
        self,
        view: View,
        data: Any,
        *,
        written_at: datetime | Literal["event"] | None = None,
        history_only: bool = False,
    ) -> Upserted:
        """As :meth:`FeatureStore.upsert`."""
        return await self._threads.run(
            self._store.upsert, view, data, written_at=written_at, history_only=history_only)

    async def load(
        self,
        view: View,
        data: Any,
        *,
        name: str,
        written_at: datetime | Literal["event"] | None = None,
        history_only: bool = False,
    ) -> Loaded:
        """As :meth:`FeatureStore.load`."""
        return await self._threads.run(
            self._store.load, view, data, name=name, written_at=written_at, history_only=history_only)

    async def materialize(self, view: View, *, full: bool = False, batch_rows: int = 200_000) -> Materialized:
        """As :meth:`FeatureStore.materialize`."""
        return await self._threads.run(self._store.materialize, view, full=full, batch_rows=batch_rows)

    async def maintain(self, view: View) -> Maintained:
        """As :meth:`FeatureStore.maintain`."""
        return await self._threads.run(self._store.maintain, view)

    async def erase(self, view: View, keys: Iterable[Any]) -> Erased:
        """As :meth:`FeatureStore.erase`."""
        return await self._threads.run(self._store.erase, view, keys)

    async def as_of(
        self,
        view: View,
        key: Any,
        at: datetime,
        *,
        known_at: datetime | Literal["label", "any"] | None = None,
        features: Sequence[str] | None = None,
    ) -> Features:
        """As :meth:`FeatureStore.as_of`."""
        return await self._threads.run(self._store.as_of, view, key, at, known_at=known_at, features=features)

    async def join(
        self,
        view: View,
        entities: Any,
        *,
        known_at: datetime | Literal["label", "any"] | None = None,
        features: Sequence[str] | None = None,
    ) -> FeatureSet:
        """As :meth:`FeatureStore.join`."""
        return await self._threads.run(self._store.join, view, entities, known_at=known_at, features=features)

    async def put_documents(self, view: View, documents: Sequence[Document]) -> Stored:
        """As :meth:`FeatureStore.put_documents`."""
        return await self._threads.run(self._store.put_documents, view, documents)

    async def get_document(
        self,
        view: View,
        key: Any,
        *,
        at: datetime | None = None,
        known_at: datetime | Literal["label", "any"] | None = None,
    ) -> Document | None:
        """As :meth:`FeatureStore.get_document`."""
        return await self._threads.run(self._store.get_document, view, key, at=at, known_at=known_at)

    async def get(self, view: View, key: Any, *, features: Sequence[str] | None = None) -> Features:
        """As :meth:`FeatureStore.get`."""
        found: Features = await self._reads.run(self._reads.get, view, key, features)
        return found

    async def get_many(self, view: View, keys: Iterable[Any], *, features: Sequence[str] | None = None) -> FeatureSet:
        """As :meth:`FeatureStore.get_many`."""
        keys = keys if isinstance(keys, Sized) else list(keys)
        if len(keys) > _MANY:
            return await self._threads.run(self._store.get_many, view, keys, features=features)
        found: FeatureSet = await self._reads.run(self._reads.get_many, view, keys, features)
        return found

    async def get_views(
        self,
        views: Sequence[View],
        keys: Iterable[Any],
        *,
        roles: Sequence[Mapping[str, str] | None] | None = None,
    ) -> list[FeatureSet]:
        """As :meth:`FeatureStore.get_views`."""
        return await self._threads.run(self._store.get_views, views, keys, roles=roles)

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
        return AsyncServedModel(served, self._threads, self._reads)

    async def record(self, view: View, key: Any, score: Score) -> str:
        """As :meth:`FeatureStore.record`."""
        return await self._threads.run(self._store.record, view, key, score)

    def buffered_decisions(self, *, capacity: int = 10_000) -> DecisionBuffer:
        """As :meth:`FeatureStore.buffered_decisions`."""
        return self._store.buffered_decisions(capacity=capacity)

    async def replay(self, id: str) -> Replay:
        """As :meth:`FeatureStore.replay`."""
        return await self._threads.run(self._store.replay, id)

    async def close(self) -> None:
        """Close the store and end its threads."""
        await self._reads.end()
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
        score: Score = await self._reads.run(self._reads.score, self._plan, key, request)
        return score

    async def score_many(self, keys: Iterable[Any], request: Any | None = None) -> Scores:
        """As :meth:`ScorePlan.score_many`."""
        return await self._threads.run(self._plan.score_many, keys, request)


class AsyncServedModel:
    """An alias of the model registry at work on a view, for asyncio. Make one with :meth:`AsyncFeatureStore.watch_model`.

    ``served`` is the :class:`ServedModel`, whose properties never wait for the database but for ``model``.
    """

    def __init__(self, served: ServedModel, threads: _Threads, reads: _Reads) -> None:
        self.served = served
        self._threads = threads
        self._reads = reads

    @property
    def version(self) -> ModelVersion:
        """The version that answers for most keys now."""
        return self.served.version

    async def score(self, key: Any, request: dict[str, Any] | None = None) -> Score:
        """As :meth:`ServedModel.score`."""
        score: Score = await self._reads.run(self._reads.score_served, self.served, key, request)
        return score

    async def score_many(self, keys: Iterable[Any], request: Any | None = None) -> Scores:
        """As :meth:`ServedModel.score_many`."""
        return await self._threads.run(self.served.score_many, keys, request)
