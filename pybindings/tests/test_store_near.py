"""Reads that need not go to the primary: by replicas, and by rows that are kept near; also under asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

import psycopg
import pytest
from server import postgres

import cenote

VIEW = cenote.View({
    "name": "near",
    "keys": [{"name": "customer", "type": "i64"}],
    "features": [{"name": "age", "type": "f64"}],
})


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with postgres() as dsn:
        with cenote.FeatureStore.connect(dsn) as store:
            store.apply(VIEW)
            write(store, 1.0)
        yield dsn


def write(store: cenote.FeatureStore, age: float) -> None:
    store.upsert(VIEW, {"customer": [7], "event_ts": [datetime.now(timezone.utc)], "age": [age]})


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "the condition did not come true within 30 s"
        time.sleep(0.01)


def test_a_replica_answers_while_it_is_not_far_behind(dsn: str) -> None:
    with postgres(primary=dsn) as standby, psycopg.connect(standby, autocommit=True) as admin:
        with cenote.FeatureStore.connect(dsn, replicas=[standby], max_replica_lag=0.5) as store:
            def reads() -> int:
                count: int = store.replicas[0]["reads"]
                return count

            def answered() -> bool:
                store.get(VIEW, 7)
                return reads() > 0

            until(answered)
            assert store.replicas[0]["fresh"]
            admin.execute("SELECT pg_wal_replay_pause()")
            write(store, 2.0)
            until(lambda: store.get(VIEW, 7)["age"] == 2.0)
            # It may answer again only when it has replayed what it lacks.
            time.sleep(0.6)
            before = reads()
            assert [store.get(VIEW, 7)["age"] for _ in range(20)] == [2.0] * 20
            assert reads() == before
            admin.execute("SELECT pg_wal_replay_resume()")
            until(lambda: store.get(VIEW, 7)["age"] == 2.0 and reads() > before)

        async def main() -> None:
            before = calls(standby)
            async with await cenote.AsyncFeatureStore.connect(dsn, replicas=[standby], max_replica_lag=5.0) as near:
                for _ in range(300):
                    assert (await near.get(VIEW, 7))["age"] == 2.0
                    await asyncio.sleep(0.001)
            until(lambda: calls(standby) > before)

        asyncio.run(main())


def calls(dsn: str) -> int:
    """How many scans of the view's index a server has counted."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        found = connection.execute("SELECT idx_scan FROM pg_stat_user_indexes WHERE relname = 'near_v1'").fetchone()
    return 0 if found is None else int(found[0] or 0)


def test_a_replica_that_cannot_be_reached_is_not_missed(dsn: str) -> None:
    with cenote.FeatureStore.connect(dsn, replicas=["host=127.0.0.1 port=1 user=cenote"]) as store:
        assert store.get(VIEW, 7).status == "fresh"
        assert store.replicas == [{"fresh": False, "reads": 0}]
    with cenote.FeatureStore.connect(dsn) as store:
        assert store.replicas == []


@pytest.mark.parametrize(("settings", "message"), [
    ({"max_replica_lag": 1.0}, "without replicas"),
    ({"replicas": ["host=h"], "max_replica_lag": 0.0}, "max_replica_lag is a positive"),
    ({"cache_ttl": -1.0}, "cache_ttl is a positive"),
])
def test_settings_that_say_nothing(dsn: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cenote.FeatureStore.connect(dsn, **settings)
    with pytest.raises(ValueError, match=message):
        asyncio.run(cenote.AsyncFeatureStore.connect(dsn, **settings))


def test_an_async_store_keeps_rows_near(dsn: str) -> None:
    async def main() -> None:
        async with await cenote.AsyncFeatureStore.connect(dsn, cache_bytes=1 << 20, cache_ttl=30.0) as near:
            await near.notify_changes(VIEW)
            for _ in range(2_000):
                await near.get(VIEW, 7)
                if near.cache_counters["hits"]:
                    break
                await asyncio.sleep(0.01)
            assert near.cache_counters["hits"]
            with cenote.FeatureStore.connect(dsn) as other:
                write(other, 3.0)
            for _ in range(2_000):
                if (await near.get(VIEW, 7))["age"] == 3.0:
                    break
                await asyncio.sleep(0.01)
            assert (await near.get(VIEW, 7))["age"] == 3.0
            assert near.cache_counters["invalidated"]

    asyncio.run(main())
