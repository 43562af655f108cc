"""Entity keys -> feature rows, from the online table of a cenote feature view: one query for all keys, within a deadline."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from .breaker import Breaker

ARRAYS = {
    "bool": "boolean[]",
    "i16": "smallint[]",
    "i32": "integer[]",
    "i64": "bigint[]",
    "text": "text[]",
    "timestamp": "timestamptz[]",
}


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class View:
    """The part of a view's JSON that reading needs."""

    name: str
    version: int
    keys: tuple[tuple[str, str], ...]
    features: tuple[str, ...]
    ttl: timedelta | None

    @classmethod
    def read(cls, path: Path) -> View:
        v = json.loads(path.read_text(encoding="utf-8"))
        ttl = timedelta(seconds=v["ttl_seconds"]) if v.get("ttl_seconds") else None
        return cls(
            v["name"],
            v.get("version", 1),
            tuple((k["name"], k["type"]) for k in v["keys"]),
            tuple(f["name"] for f in v["features"]),
            ttl,
        )

    def query(self, schema: str) -> str:
        table = f"{quoted(schema)}.{quoted(f'{self.name}_v{self.version}')}"
        arrays = ", ".join(f"${i}::{ARRAYS[kind]}" for i, (_, kind) in enumerate(self.keys, 1))
        names = ", ".join(quoted(k) for k, _ in self.keys)
        columns = ", ".join(f"t.{quoted(f)}" for f in self.features)
        # Identifiers are quoted, and values are bound: nothing of a request is in this text.
        return f"SELECT q.nth, t.event_ts, {columns} FROM unnest({arrays}) WITH ORDINALITY AS q({names}, nth) JOIN {table} AS t USING ({names})"


class Features:
    def __init__(self, pool: asyncpg.Pool, view: View, schema: str, *, timeout: float) -> None:
        self._pool, self.view, self._timeout = pool, view, timeout
        self._query = view.query(schema)
        self.breaker = Breaker(
            "postgres", (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.TooManyConnectionsError, OSError)
        )

    async def get(self, keys: list[tuple[Any, ...]]) -> list[dict[str, Any] | None]:
        """The features of each key, in order; None where there is no row or it is older than the view's time to live."""
        columns = [list(column) for column in zip(*keys, strict=True)]
        rows = await self.breaker.call(lambda: self._pool.fetch(self._query, *columns), timeout=self._timeout)
        oldest = datetime.now(UTC) - self.view.ttl if self.view.ttl else None
        out: list[dict[str, Any] | None] = [None] * len(keys)
        for row in rows:
            if oldest is None or row["event_ts"] >= oldest:
                out[row["nth"] - 1] = {f: plain(row[f]) for f in self.view.features}
        return out

    async def ready(self) -> bool:
        return await self.breaker.call(lambda: self._pool.fetchval("SELECT true"), timeout=self._timeout)


def plain(value: Any) -> Any:
    """Times as H2O knows them: milliseconds since 1970."""
    return value.timestamp() * 1000 if isinstance(value, datetime) else value
