"""The circuit breaker by a clock of our own: opens, refuses, probes once, closes; a caller's mistake never counts."""

from __future__ import annotations

import asyncio

import pytest
from app.breaker import Breaker, CircuitOpen


async def failing() -> None:
    raise OSError


async def working() -> int:
    return 1


async def test_opens_probes_and_closes() -> None:
    now = [0.0]
    breaker = Breaker("x", (OSError,), threshold=3, cooldown=10, clock=lambda: now[0])
    for _ in range(3):
        with pytest.raises(OSError):
            await breaker.call(failing, timeout=1)
    with pytest.raises(CircuitOpen):
        await breaker.call(working, timeout=1)
    now[0] = 10
    with pytest.raises(OSError):
        await breaker.call(failing, timeout=1)
    assert breaker.state == "open"
    now[0] = 20
    assert await breaker.call(working, timeout=1) == 1 and breaker.state == "closed"


async def test_one_probe_at_a_time() -> None:
    now = [0.0]
    breaker = Breaker("x", (OSError,), threshold=1, cooldown=1, clock=lambda: now[0])
    with pytest.raises(OSError):
        await breaker.call(failing, timeout=1)
    now[0] = 1
    release = asyncio.Event()
    probe = asyncio.create_task(breaker.call(release.wait, timeout=5))
    await asyncio.sleep(0)
    with pytest.raises(CircuitOpen):
        await breaker.call(working, timeout=1)
    release.set()
    assert await probe is True


async def test_mistakes_and_cancellation_do_not_count_and_timeouts_do() -> None:
    breaker = Breaker("x", (OSError,), threshold=1)

    async def mistaken() -> None:
        raise ValueError

    with pytest.raises(ValueError):
        await breaker.call(mistaken, timeout=1)
    task = asyncio.create_task(breaker.call(asyncio.Event().wait, timeout=5))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert breaker.state == "closed"
    with pytest.raises(TimeoutError):
        await breaker.call(asyncio.Event().wait, timeout=0.01)
    assert breaker.state == "open"
