"""A bulkhead: so many calls to one system at once, so many waiting, and the rest are refused at once rather than queued for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Overloaded(Exception):
    """Too many are waiting already: shed the load, answer 503 with Retry-After."""


class Bulkhead:
    def __init__(self, running: int, waiting: int) -> None:
        self._gate = asyncio.Semaphore(running)
        self._most, self._waiting = waiting, 0

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Hold one of the places while the body runs. Raises Overloaded if `waiting` callers are in the queue."""
        if self._gate.locked() and self._waiting >= self._most:
            raise Overloaded
        self._waiting += 1
        try:
            await self._gate.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._gate.release()
