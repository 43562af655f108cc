"""What drives the asyncio store's reads: an event loop of any kind, several at once, or a thread where no loop can."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import datetime, timezone
from typing import Any

import psycopg
import pytest
import uvloop
from server import postgres

import cenote
from cenote import _aio

KEYS = 3_000
VIEW = cenote.View({
    "name": "async",
    "keys": [{"name": "customer", "type": "i64"}],
    "features": [{"name": "age", "type": "f64"}],
})
Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with postgres() as dsn, cenote.FeatureStore.connect(dsn) as store:
        store.apply(VIEW)
        now = [datetime.now(timezone.utc)] * KEYS
        store.upsert(VIEW, {"customer": list(range(KEYS)), "event_ts": now, "age": [key / 2 for key in range(KEYS)]})
        yield dsn


@pytest.fixture(params=["asyncio", "uvloop", "thread"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Run:
    if request.param == "thread":
        driven = _aio.AsyncReads
        monkeypatch.setattr(_aio, "AsyncReads", lambda store, connections: driven(store, connections, True))
    return uvloop.run if request.param == "uvloop" else asyncio.run


async def read(store: cenote.AsyncFeatureStore, count: int) -> None:
    """Reads keys at once and one after another; each answer must be its key's."""
    at_once = await asyncio.gather(*(store.get(VIEW, key) for key in range(count)))
    in_turn = [await store.get(VIEW, key) for key in range(count)]
    for features in at_once, in_turn:
        assert [found["age"] for found in features] == [key / 2 for key in range(count)]
    for keys in (range(count), range(KEYS), iter([7, 7, -1])):
        wanted = list(keys)
        found = await store.get_many(VIEW, iter(wanted))
        assert found.to_dict()["age"] == [key / 2 if key >= 0 else None for key in wanted]


async def active(watch: psycopg.AsyncConnection[Any], name: str) -> int:
    sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND state = 'active'"
    row = await (await watch.execute(sql, [name])).fetchone()
    assert row is not None
    count: int = row[0]
    return count


def test_reads_at_once_and_in_turn(dsn: str, run: Run) -> None:
    async def main() -> None:
        async with await cenote.AsyncFeatureStore.connect(dsn, connections=4) as store:
            await read(store, 200)

    run(main())


def test_what_time_alone_ends(dsn: str, run: Run) -> None:
    """Nothing comes from the server: a deadline must pass all the same, and what was given up must end there."""

    async def main() -> None:
        named = f"{dsn} application_name=async_deadlines"
        async with await cenote.AsyncFeatureStore.connect(named, connections=2, read_timeout=1.0) as store:
            await store.get(VIEW, 1)
            lock = await asyncio.to_thread(psycopg.connect, dsn)
            watch = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
            lock.execute("LOCK TABLE async_v1 IN ACCESS EXCLUSIVE MODE")
            start = time.monotonic()
            with pytest.raises(cenote.StoreTimeoutError, match="1000 ms"):
                await store.get(VIEW, 1)
            assert 0.99 < time.monotonic() - start < 2
            call = asyncio.ensure_future(store.get(VIEW, 1))
            while not await active(watch, "async_deadlines"):
                await asyncio.sleep(0.001)
            call.cancel()
            start = time.monotonic()
            while await active(watch, "async_deadlines"):
                await asyncio.sleep(0.001)
            assert time.monotonic() - start < 1
            with pytest.raises(asyncio.CancelledError):
                await call
            lock.close()
            await watch.close()
            await read(store, 20)

    run(main())


def test_several_event_loops_at_once(dsn: str, run: Run) -> None:
    store = run(cenote.AsyncFeatureStore.connect(dsn, connections=3))
    failures: list[BaseException] = []

    def loop() -> None:
        try:
            run(read(store, 100))
        except BaseException as failure:
            failures.append(failure)

    for _ in range(2):
        threads = [threading.Thread(target=loop) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures
    run(store.close())
    with pytest.raises(cenote.StoreError, match="closed"):
        run(store.get(VIEW, 1))


def test_a_store_that_is_closed_twice_or_never(dsn: str, run: Run) -> None:
    async def main() -> None:
        store = await cenote.AsyncFeatureStore.connect(dsn)
        await store.close()
        await store.close()
        await (await cenote.AsyncFeatureStore.connect(dsn)).get(VIEW, 1)

    run(main())


def child(store: cenote.AsyncFeatureStore, told: Any) -> None:
    try:
        asyncio.run(store.get(VIEW, 1))
    except RuntimeError as error:
        told.put(str(error))


def test_a_fork_is_told_to_connect_and_leaves_the_parent_alone(dsn: str, run: Run) -> None:
    store = run(cenote.AsyncFeatureStore.connect(dsn, connections=2))
    run(read(store, 10))
    context = multiprocessing.get_context("fork")
    told: Any = context.Queue()
    process = context.Process(target=child, args=(store, told))
    process.start()
    assert "does not outlive a fork" in told.get(timeout=20)
    process.join()
    assert process.exitcode == 0
    run(read(store, 10))
    run(store.close())
