"""One deadline a request, handed down to every hop: no call may outlast the time that the caller still has.

The deadline lives in a context variable, so that helpers need no parameter for it; a task started inside inherits it.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

_deadline: contextvars.ContextVar[float | None] = contextvars.ContextVar("deadline", default=None)


class DeadlinePassed(TimeoutError):
    """There is no time left to begin the call."""


def remaining(at_most: float, *, clock: Callable[[], float] = time.monotonic) -> float:
    """Seconds that a hop may take: its own limit, or what is left if that is less. Raises DeadlinePassed where nothing is left."""
    end = _deadline.get()
    left = at_most if end is None else min(at_most, end - clock())
    if left <= 0:
        raise DeadlinePassed
    return left


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[None]:
    """Everything awaited within ends after `seconds`, or at the deadline already set, whichever is sooner. Raises TimeoutError."""
    left = remaining(seconds)
    token = _deadline.set(time.monotonic() + left)
    try:
        async with asyncio.timeout(left):
            yield
    finally:
        _deadline.reset(token)
