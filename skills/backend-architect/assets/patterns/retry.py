"""Retries that end: a few attempts, full jitter, inside one deadline, and within a budget shared by all callers.

Use it for idempotent calls only. The budget stops a storm: when most calls fail, retrying them all multiplies the load by the attempts.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class Budget:
    """Tokens that successes earn and retries spend: about one retry for every `1 / ratio` calls."""

    def __init__(self, *, ratio: float = 0.1, most: float = 10.0) -> None:
        self._ratio, self._most, self._tokens = ratio, most, most

    def earn(self) -> None:
        self._tokens = min(self._most, self._tokens + self._ratio)

    def spend(self) -> bool:
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


async def retry(
    work: Callable[[], Awaitable[T]],
    failures: tuple[type[BaseException], ...],
    *,
    deadline: float,
    budget: Budget,
    attempts: int = 3,
    base: float = 0.02,
) -> T:
    """Await `work()` up to `attempts` times within `deadline` seconds; the last failure is raised as it is."""
    end = time.monotonic() + deadline
    for attempt in range(1, attempts + 1):
        try:
            async with asyncio.timeout(max(0.0, end - time.monotonic())):
                result = await work()
        except failures:
            pause = random.uniform(0, base * 2**attempt)
            if attempt == attempts or time.monotonic() + pause >= end or not budget.spend():
                raise
            await asyncio.sleep(pause)
        else:
            budget.earn()
            return result
    raise AssertionError("unreachable: the last attempt returns or raises")
