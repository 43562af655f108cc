"""The event loop stays free: no blocking call, short lag under load, scoring threads bounded, one load for many callers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from app.cache import Cache
from blockbuster import BlockingError, blockbuster_ctx


class Slow:
    """A model that computes for 50 ms a batch with the GIL released, and counts how many do so at once."""

    def __init__(self, data: bytes) -> None:
        self.lock, self.running, self.most = threading.Lock(), 0, 0

    def predict(self, data: Any) -> Any:
        if isinstance(data, dict):
            return {"predict": 0.0}
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(0.05)
        with self.lock:
            self.running -= 1
        return [{"predict": 0.0} for _ in data]


async def ticks(stop: asyncio.Event) -> int:
    """How often the loop came round before `stop`: a count, so that a busy machine does not look like a blocked loop."""
    count = 0
    while not stop.is_set():
        await asyncio.sleep(0.001)
        count += 1
    return count


async def test_batches_leave_the_loop_free_and_threads_are_bounded(serve: Callable[..., Any], headers: dict[str, str]) -> None:
    models = []
    client = await serve(lambda data: models.append(Slow(data)) or models[-1])
    stop = asyncio.Event()
    watch = asyncio.create_task(ticks(stop))
    await asyncio.sleep(0)
    got = await asyncio.gather(*(client.post("/v1/score", json={"rows": [{"x": 1}] * 2}, headers=headers) for _ in range(10)))
    stop.set()
    assert {g.status_code for g in got} == {200}
    assert await watch > 20, "ten batches of 50 ms, and the loop hardly came round: it waited for the model"
    assert models[0].most == 2


async def test_requests_do_not_block(serve: Callable[..., Any], headers: dict[str, str]) -> None:
    client = await serve()
    with blockbuster_ctx("app"):
        assert (await client.post("/v1/score", json={"rows": [{"x": 1}]}, headers=headers)).status_code == 200


async def test_the_detector_itself_detects() -> None:
    with blockbuster_ctx(), pytest.raises(BlockingError):
        time.sleep(0.01)


async def test_callers_of_one_key_share_one_load() -> None:
    cache, loads = Cache(None, seconds=1, timeout=1), []

    async def load() -> int:
        loads.append(1)
        await asyncio.sleep(0.01)
        return 7

    assert await asyncio.gather(*(cache.get("k", load) for _ in range(50))) == [7] * 50
    assert len(loads) == 1


async def test_a_caller_that_leaves_does_not_take_the_load_with_it() -> None:
    cache = Cache(None, seconds=1, timeout=1)

    async def load() -> int:
        await asyncio.sleep(0.02)
        return 7

    first = asyncio.create_task(cache.get("k", load))
    second = asyncio.create_task(cache.get("k", load))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 7
