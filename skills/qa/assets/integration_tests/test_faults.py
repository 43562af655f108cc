"""What the service does while Redis is dead or the database stopped: it degrades, says so, and recovers by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from conftest import World, metric

pytestmark = pytest.mark.live


async def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < end, "it did not recover"
        await asyncio.sleep(0.1)


async def test_redis_killed(start: Callable[..., Any], world: World, headers: dict[str, str]) -> None:
    client = await start(**{**world.settings, "rate_limit": "60/minute"})
    keys = list(world.expected)[20:40]

    async def scores(key: str) -> Any:
        return await client.get(f"/v1/entities/{key}/score", headers=headers)

    assert (await scores(keys[0])).status_code == 200
    world.redis.kill()
    try:
        fallen = metric("app_limiter_total", outcome="fallback")
        for key in keys:
            got = await scores(key)
            assert got.status_code == 200 and world.agrees(key, got.json()["prediction"])
        assert metric("app_limiter_total", outcome="fallback") > fallen
        assert metric("app_cache_total", outcome="unavailable") > 0
        assert metric("app_breaker_open", name="redis") == 1
        assert (await client.get("/health/ready")).status_code == 200
        codes = [(await scores(keys[0])).status_code for _ in range(60)]
        assert codes.count(429) > 0, "the limit of this process holds while Redis is away"
    finally:
        world.redis.start()

    async def shared_again() -> bool:
        await client.application.state.cache.get("probe", lambda: asyncio.sleep(0, 1))
        return metric("app_breaker_open", name="redis") == 0

    await until(shared_again)


async def test_database_stopped(start: Callable[..., Any], world: World, headers: dict[str, str]) -> None:
    client = await start(**world.settings)
    cached, uncached = list(world.expected)[40], list(world.expected)[41:60]

    async def scores(key: str) -> Any:
        return await client.get(f"/v1/entities/{key}/score", headers=headers)

    assert (await scores(cached)).status_code == 200
    world.postgres.stop()
    try:
        begun = time.monotonic()
        for key in uncached:
            got = await scores(key)
            assert got.status_code == 503 and got.headers["Retry-After"] == "1", got.text
        assert time.monotonic() - begun < 10, "after the first failures the circuit is open, and the answer comes at once"
        assert metric("app_breaker_open", name="postgres") == 1
        assert (await scores(cached)).status_code == 200, "what the cache holds is still answered"
        assert (await client.get("/health/live")).status_code == 200, "liveness asks nobody"
        assert (await client.get("/health/ready")).status_code == 503
        assert (await client.get("/v2/health/ready")).json() == {"ready": False}
        query = f'{{ entities(keys: ["{cached}"]) {{ features raw }} }}'
        answer = (await client.post("/graphql", json={"query": query}, headers=headers)).json()
        assert "the store does not answer" in str(answer["errors"])
    finally:
        world.postgres.start()

    async def answers() -> bool:
        return (await scores(uncached[0])).status_code == 200 and (await client.get("/health/ready")).status_code == 200

    await until(answers)
    assert world.agrees(uncached[0], (await scores(uncached[0])).json()["prediction"])
    assert metric("app_breaker_open", name="postgres") == 0
