"""Rate limits by caller: a sliding window that all processes share in Redis; when Redis is away, a window of this process.

The limiter never turns its own failure into a 500: it falls back, and says so by a metric.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException, Request
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.exceptions import RedisError

from .auth import Reader
from .breaker import Breaker, CircuitOpen
from .telemetry import LIMITER, breaker_changed


class Limiter:
    def __init__(self, limit: str, redis_url: str | None, *, timeout: float) -> None:
        self._limit: RateLimitItem = parse(limit)
        self._timeout = timeout
        self._breaker = Breaker("limiter", (RedisError, OSError, ConnectionError), changed=breaker_changed)
        # limits asks for coredis unless it is told to use redis-py.
        storage = RedisStorage(f"async+{redis_url}", implementation="redispy") if redis_url else None
        self._shared = SlidingWindowCounterRateLimiter(storage) if storage else None
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def allow(self, caller: str) -> bool:
        shared = self._shared
        if shared is not None:
            try:
                return await self._breaker.call(lambda: shared.hit(self._limit, caller), timeout=self._timeout)
            except (RedisError, OSError, TimeoutError, CircuitOpen):
                LIMITER.labels("fallback").inc()
        return await self._own.hit(self._limit, caller)


async def within_limit(request: Request, caller: Reader) -> None:
    if not await request.app.state.limiter.allow(caller.subject):
        LIMITER.labels("refused").inc()
        raise HTTPException(429, "too many requests", {"Retry-After": "1"})


Limited = Depends(within_limit)
LimitedReader = Annotated[None, Limited]
