"""What arrived of an entity, as it arrived: JSON documents of the raw store, by asyncpg, newest first.

A document belongs to the entity whose `key` it names (`{"key": "1001", ...}`): the GIN index over the body answers that.
"""

from __future__ import annotations

import json
from typing import Any

import asyncpg

from .breaker import Breaker
from .telemetry import breaker_changed

FAILURES = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.TooManyConnectionsError, OSError)


class Raw:
    def __init__(self, pool: asyncpg.Pool, table: str, *, timeout: float) -> None:
        self._pool, self._timeout = pool, timeout
        # The table's name comes from the settings, which take nothing but plain identifiers; values are bound.
        self._query = (
            f"SELECT q.nth, r.body FROM unnest($1::text[]) WITH ORDINALITY AS q(key, nth) CROSS JOIN LATERAL "
            f"(SELECT body FROM {table} WHERE body @> jsonb_build_object('key', q.key) ORDER BY event_ts DESC LIMIT $2) r"
        )
        self._breaker = Breaker("raw", FAILURES, changed=breaker_changed)

    async def get(self, keys: list[str], most: int = 10) -> list[list[Any]]:
        """Up to `most` documents of each key, in the order of the keys, by one query."""
        rows = await self._breaker.call(lambda: self._pool.fetch(self._query, keys, most), timeout=self._timeout)
        out: list[list[Any]] = [[] for _ in keys]
        for row in rows:
            out[row["nth"] - 1].append(json.loads(row["body"]))
        return out
