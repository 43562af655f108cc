"""A circuit breaker: after so many failures in a row, calls fail at once until one probe gets through.

Only failures of the other side count (the exceptions named, and time-outs); a caller's mistake never opens the circuit, and neither does
a caller that went away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class CircuitOpen(Exception):
    """The call was not made: the other side has been failing."""


class Breaker:
    def __init__(
        self,
        name: str,
        failures: tuple[type[BaseException], ...],
        *,
        threshold: int = 5,
        cooldown: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        changed: Callable[[str, bool], None] | None = None,
    ) -> None:
        """`changed` is told the name and whether the circuit is open, each time it opens or closes."""
        self.name, self._failures = name, (*failures, TimeoutError)
        self._threshold, self._cooldown, self._clock = threshold, cooldown, clock
        self._changed = changed or (lambda name, opened: None)
        self._in_a_row, self._opened, self._probing = 0, None, False  # type: int, float | None, bool

    @property
    def state(self) -> str:
        if self._opened is None:
            return "closed"
        return "half-open" if self._clock() - self._opened >= self._cooldown else "open"

    async def call(self, work: Callable[[], Awaitable[T]], *, timeout: float) -> T:
        """Await `work()` within `timeout` seconds. Raises CircuitOpen, TimeoutError, or what `work` raises."""
        probe = self.state == "half-open"
        if self.state == "open" or (probe and self._probing):
            raise CircuitOpen(self.name)
        self._probing = self._probing or probe
        try:
            async with asyncio.timeout(timeout):
                result = await work()
        except self._failures:
            self._in_a_row += 1
            if probe or self._in_a_row >= self._threshold:
                self._opened = self._clock()
                self._changed(self.name, True)
            raise
        else:
            if self._opened is not None:
                self._changed(self.name, False)
            self._in_a_row, self._opened = 0, None
            return result
        finally:
            if probe:
                self._probing = False
