"""A look-aside cache in Redis. Redis being slow, full or dead is a miss, never an error; callers of one key share one load.

A key carries the model's digest and the view's version, so that a swap of either never serves the other's answers. Times to live are
spread by a tenth, so that entries written together do not expire together.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from .breaker import Breaker, CircuitOpen
from .telemetry import CACHE, breaker_changed


class Cache:
    def __init__(self, redis: Redis | None, *, seconds: int, timeout: float) -> None:
        self._redis, self._seconds, self._timeout = redis, seconds, timeout
        self._breaker = Breaker("redis", (RedisError, OSError), changed=breaker_changed)
        self._loading: dict[str, asyncio.Task[Any]] = {}

    async def get(self, key: str, load: Callable[[], Awaitable[Any]]) -> Any:
        """The JSON value of `key`, or what `load()` gives, which is then kept. A value of None is not kept."""
        held = await self._read(key)
        if held is not None:
            CACHE.labels("hit").inc()
            return held
        CACHE.labels("miss").inc()
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(self._load(key, load))
            task.add_done_callback(lambda _: self._loading.pop(key, None))
        return await asyncio.shield(task)

    async def _load(self, key: str, load: Callable[[], Awaitable[Any]]) -> Any:
        value = await load()
        if value is not None and self._redis is not None:
            seconds = max(1, round(self._seconds * random.uniform(0.9, 1.1)))
            await self._try(lambda redis: redis.set(key, json.dumps(value), ex=seconds))
        return value

    async def _read(self, key: str) -> Any:
        raw = await self._try(lambda redis: redis.get(key))
        try:
            return json.loads(raw) if raw is not None else None
        except ValueError:
            return None

    async def _try(self, work: Callable[[Redis], Awaitable[Any]]) -> Any:
        redis = self._redis
        if redis is None:
            return None
        try:
            return await self._breaker.call(lambda: work(redis), timeout=self._timeout)
        except (RedisError, OSError, TimeoutError, CircuitOpen):
            CACHE.labels("unavailable").inc()
            return None
