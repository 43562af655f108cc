"""The Python side without Feast: the wheel, asynchronous and not, beside asyncpg and psycopg.

Contenders take turns of a few calls each, in one thread with one event loop, so that all see the same machine.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

import asyncpg
import cenote
import numpy as np
import psycopg
import pyarrow as pa
from psycopg.rows import dict_row

from .results import Results

FEATURES = [f"f{feature}" for feature in range(20)]
KEYS = 100_000
NAMES = ", ".join(FEATURES)
# Calls of one contender before it is the next one's turn.
TURN = 25


def view(name: str) -> cenote.View:
    """A view of one key and twenty numbers, as the Rust side has it."""
    features = [{"name": feature, "type": "f64"} for feature in FEATURES]
    return cenote.View({"name": name, "keys": [{"name": "id", "type": "i64"}], "features": features})


def url(dsn: str) -> str:
    """The connection string as a URL."""
    words = dict(word.split("=", 1) for word in dsn.split())
    return "postgresql://{user}@{host}:{port}/{dbname}".format(**words)


def hundred(start: int) -> list[int]:
    """A hundred keys that lie far from each other."""
    return [(start + key * 104_729) % KEYS for key in range(100)]


class Drivers:
    """Connections, and the same reads by each."""

    def __init__(self, dsn: str, schema: str, results: Results) -> None:
        self.dsn, self.schema, self.results = dsn, schema, results
        self.table = f'"{schema}".bench_v1'
        self.one = f"SELECT event_ts, {NAMES} FROM {self.table} WHERE id = $1"
        self.many = f"SELECT id, event_ts, {NAMES} FROM {self.table} WHERE id = ANY($1)"
        self.view = view("bench")
        self.walk = count(1)

    async def open(self) -> None:
        """Connects everyone and prepares what can be prepared."""
        self.store = cenote.FeatureStore.connect(self.dsn, schema=self.schema)
        self.async_store = await cenote.AsyncFeatureStore.connect(self.dsn, schema=self.schema)
        self.asyncpg = await asyncpg.connect(url(self.dsn))
        self.asyncpg_one = await self.asyncpg.prepare(self.one)
        self.asyncpg_many = await self.asyncpg.prepare(self.many)
        self.psycopg = psycopg.connect(self.dsn, autocommit=True, row_factory=dict_row)
        self.psycopg_one = self.one.replace("$1", "%s")
        self.psycopg_many = self.many.replace("$1", "%s")

    async def reopen(self) -> None:
        """Connects everyone anew: where the scheduler puts a connection's server makes all of its calls long or short."""
        await self.close()
        await self.open()

    async def close(self) -> None:
        """Closes all connections."""
        self.store.close()
        await self.async_store.close()
        await self.asyncpg.close()
        self.psycopg.close()

    def key(self) -> int:
        """The next key of the walk."""
        return next(self.walk) * 7919 % KEYS

    async def _turns(self, work: str, calls: int, who: dict[str, Callable[[], Any]]) -> None:
        """Times each contender's call; what it gives is awaited if it can be."""
        clock = time.perf_counter_ns
        for _ in range(max(1, calls // TURN)):
            for name, call in who.items():
                times = []
                before = time.process_time_ns()
                for _ in range(TURN):
                    start = clock()
                    given = call()
                    if asyncio.iscoroutine(given):
                        await given
                    times.append((clock() - start) / 1e3)
                busy = (time.process_time_ns() - before) / 1e3 / TURN
                self.results.sample(work, name, times)
                self.results.value(work, name, "client_cpu_us", busy)

    async def get(self, calls: int) -> None:
        """One key to a dict of values."""

        async def by_asyncpg() -> dict[str, Any]:
            return dict(await self.asyncpg_one.fetchrow(self.key()))

        def by_psycopg() -> dict[str, Any]:
            return self.psycopg.execute(self.psycopg_one, (self.key(),), prepare=True, binary=True).fetchone()

        await self._turns("get_1x20", calls, {
            "cenote_python": lambda: self.store.get(self.view, self.key()).values,
            "psycopg": by_psycopg,
            "cenote_python_async": lambda: self.async_store.get(self.view, self.key()),
            "asyncpg": by_asyncpg,
        })  # fmt: skip

    async def get_many(self, calls: int) -> None:
        """A hundred keys, in their order: ours to an Arrow table, the drivers' to dicts."""

        async def by_asyncpg() -> list[dict[str, Any]]:
            ids = hundred(self.key())
            found = {row["id"]: dict(row) for row in await self.asyncpg_many.fetch(ids)}
            return [found[key] for key in ids]

        def by_psycopg() -> list[dict[str, Any]]:
            ids = hundred(self.key())
            rows = self.psycopg.execute(self.psycopg_many, (ids,), prepare=True, binary=True)
            found = {row["id"]: row for row in rows}
            return [found[key] for key in ids]

        def by_cenote() -> pa.Table:
            table = pa.table(self.store.get_many(self.view, hundred(self.key())))
            assert table.num_rows == 100
            return table

        await self._turns("get_100x20_arrow", calls, {"cenote_python": by_cenote, "asyncpg": by_asyncpg, "psycopg": by_psycopg})

    async def in_flight(self, clients: int, seconds: float) -> None:
        """As many calls at a time as there are clients, for a while."""
        work = f"in_flight_{clients}"
        store = await cenote.AsyncFeatureStore.connect(self.dsn, connections=clients, schema=self.schema)
        await self._load(work, "cenote_python_async", clients, seconds, lambda: store.get(self.view, self.key()))
        await store.close()
        pool = await asyncpg.create_pool(url(self.dsn), min_size=clients, max_size=clients)
        await self._load(work, "asyncpg", clients, seconds, lambda: pool.fetchrow(self.one, self.key()))
        await pool.close()
        self._threads(work, clients, seconds)

    async def _load(self, work: str, who: str, clients: int, seconds: float, call: Callable[[], Awaitable[Any]]) -> None:
        await asyncio.gather(*(call() for _ in range(clients)))
        end = time.perf_counter() + seconds

        async def client() -> int:
            calls = 0
            while time.perf_counter() < end:
                await call()
                calls += 1
            return calls

        start = time.perf_counter()
        calls = sum(await asyncio.gather(*(client() for _ in range(clients))))
        self.results.value(work, who, "calls_per_s", calls / (time.perf_counter() - start))

    def _threads(self, work: str, clients: int, seconds: float) -> None:
        """Threads that share the synchronous store."""
        calls = [0] * clients
        ready = threading.Barrier(clients + 1)

        def client(index: int) -> None:
            self.store.get(self.view, index)
            ready.wait()
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                self.store.get(self.view, self.key())
                calls[index] += 1

        threads = [threading.Thread(target=client, args=(index,)) for index in range(clients)]
        for thread in threads:
            thread.start()
        ready.wait()
        start = time.perf_counter()
        for thread in threads:
            thread.join()
        self.results.value(work, "cenote_python", "calls_per_s", sum(calls) / (time.perf_counter() - start))

    async def upsert(self, rows: int, round_: int) -> None:
        """New rows where the newest wins: ours from columns, asyncpg's from tuples, staged and merged."""
        moment = datetime.fromtimestamp(1, tz=UTC)
        numbers = np.arange(rows) / 3
        ours = view(f"python_{round_}")
        self.store.apply(ours)
        columns: dict[str, Any] = {
            "id": np.arange(rows),
            "event_ts": np.full(rows, np.datetime64("1970-01-01T00:00:01", "us")),
        }
        columns |= dict.fromkeys(FEATURES, numbers)
        start = time.perf_counter()
        done = self.store.upsert(ours, columns)
        self.results.value("upsert", "cenote_python", "rows_per_s", rows / (time.perf_counter() - start))
        assert done.inserted == rows
        theirs = view(f"asyncpg_{round_}")
        self.store.apply(theirs)
        records = [(key, moment, *[float(numbers[key])] * len(FEATURES)) for key in range(rows)]
        start = time.perf_counter()
        await self._merge(f'"{self.schema}".asyncpg_{round_}_v1', records)
        self.results.value("upsert", "asyncpg", "rows_per_s", rows / (time.perf_counter() - start))

    async def _merge(self, table: str, records: Sequence[tuple[Any, ...]]) -> None:
        names = f"id, event_ts, {NAMES}"
        sets = ", ".join(f"{name} = excluded.{name}" for name in ["event_ts", "written_at", *FEATURES])
        async with self.asyncpg.transaction():
            await self.asyncpg.execute(
                f"CREATE TEMPORARY TABLE stage (LIKE {table} INCLUDING DEFAULTS) ON COMMIT DROP; "
                "ALTER TABLE stage ALTER written_at DROP NOT NULL"
            )
            await self.asyncpg.copy_records_to_table(
                "stage", records=records, columns=["id", "event_ts", *FEATURES], schema_name="pg_temp"
            )
            await self.asyncpg.execute(
                f"INSERT INTO {table} AS o ({names}, written_at) SELECT DISTINCT ON (id) {names}, now() FROM stage "
                f"ORDER BY id, event_ts DESC ON CONFLICT (id) DO UPDATE SET {sets} "
                "WHERE (excluded.event_ts, excluded.written_at) > (o.event_ts, o.written_at)"
            )

    async def cancel(self, times: int) -> None:
        """An await that is cancelled while the server waits for a lock: how long the server works on."""
        dsn = f"{self.dsn} application_name=peers_store_cancel"
        store = await cenote.AsyncFeatureStore.connect(dsn, schema=self.schema, connections=2)
        theirs = await asyncpg.connect(url(self.dsn), server_settings={"application_name": "peers_store_asyncpg"})
        admin = await asyncpg.connect(url(self.dsn))
        await store.get(self.view, 1)
        async with self.asyncpg.transaction():
            await self.asyncpg.execute(f"LOCK TABLE {self.table} IN ACCESS EXCLUSIVE MODE")
            for _ in range(times):
                for who, application, call in (
                    ("cenote_python_async", "peers_store_cancel", lambda: store.get(self.view, 1)),
                    ("asyncpg", "peers_store_asyncpg", lambda: theirs.fetchrow(self.one, 1)),
                ):
                    task = asyncio.ensure_future(call())
                    await asyncio.sleep(0.02)
                    start = time.perf_counter()
                    task.cancel()
                    await _until_free(admin, application)
                    self.results.sample("free_after_cancel", who, [(time.perf_counter() - start) * 1e6])
                    await asyncio.gather(task, return_exceptions=True)
        await store.close()
        await theirs.close()
        await admin.close()


async def _until_free(admin: asyncpg.Connection, application: str) -> None:
    sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state <> 'idle'"
    end = time.perf_counter() + 2
    while await admin.fetchval(sql, application) and time.perf_counter() < end:
        pass
