"""The registry's alias decides what serves: a promotion swaps under load, misfits and unsigned models are refused, the canary takes its
share, the shadow answers nobody.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import World, metric, repacked

pytestmark = pytest.mark.live


async def until(
    client: Any, headers: dict[str, str], condition: Callable[[dict[str, Any]], bool], seconds: float = 20
) -> dict[str, Any]:
    """What the service tells of its model, as soon as it fits."""
    end = time.monotonic() + seconds
    while True:
        told = (await client.get("/admin/model", headers=headers)).json()
        if condition(told):
            return told
        assert time.monotonic() < end, told
        await asyncio.sleep(0.05)


More = Callable[[], Awaitable[None]]


async def during_load(client: Any, world: World, headers: dict[str, str], work: Callable[[More], Awaitable[None]]) -> set[str]:
    """Run `work` while entities are scored, each answer compared with H2O's; the versions that answered. `await more()` lets nine more
    answers come.
    """
    seen, keys, count, stop = set(), list(world.expected), 0, False

    async def load() -> None:
        nonlocal count
        while not stop:
            key = keys[count % len(keys)]
            got = await client.get(f"/v1/entities/{key}/score", headers=headers)
            assert got.status_code == 200 and world.agrees(key, got.json()["prediction"]), got.text
            seen.add(got.json()["version"])
            count += 1

    async def more() -> None:
        until = count + 9
        while count < until and not any(caller.done() for caller in callers):
            await asyncio.sleep(0.01)

    callers = [asyncio.create_task(load()) for _ in range(3)]
    try:
        await work(more)
    finally:
        stop = True
        await asyncio.gather(*callers)
    return seen


async def test_promotions_swap_and_what_cannot_serve_does_not(
    start: Callable[..., Any], world: World, headers: dict[str, str]
) -> None:
    client = await start(**world.settings)
    mojo = Path(os.environ["TEST_MODEL"]).read_bytes()
    second = world.register(repacked(mojo))
    misfit = world.register(Path(os.environ["TEST_MISFIT"]).read_bytes())
    unsigned = world.register(repacked(mojo, b"nobody signed this"), signed=False)

    async def work(more: More) -> None:
        for version in (second, 1, second):
            world.store.promote_model("tested", "production", version)
            await until(client, headers, lambda told, wanted=f"tested:{version}": told["version"] == wanted)
            await more()
        for wrong in (misfit, unsigned):
            world.store.promote_model("tested", "production", wrong)
            told = await until(client, headers, lambda told: told["refused"] is not None)
            assert told["version"] == f"tested:{second}", "the old model goes on serving"
            assert "app_registry_refused 1.0" in (await client.get("/metrics")).text
            await more()
        world.store.promote_model("tested", "production", 1)
        told = await until(client, headers, lambda told: told["version"] == "tested:1")
        assert told["refused"] is None

    try:
        assert await during_load(client, world, headers, work) == {"tested:1", f"tested:{second}"}
    finally:
        world.store.promote_model("tested", "production", 1)


async def test_a_model_that_nobody_signed_does_not_start(start: Callable[..., Any], world: World) -> None:
    version = world.register(repacked(Path(os.environ["TEST_MODEL"]).read_bytes(), b"nor this"), signed=False)
    world.store.promote_model("tested", "unsigned", version)
    with pytest.raises(Exception, match="sign"):
        await start(**{**world.settings, "model": "tested@unsigned"})


async def test_canary_and_shadow(start: Callable[..., Any], world: World, headers: dict[str, str]) -> None:
    second = world.register(repacked(Path(os.environ["TEST_MODEL"]).read_bytes()))
    world.store.route_model("tested", "production", 1, canary=second, share=0.3)
    try:
        client = await start(**world.settings)
        versions = {}
        for key in world.expected:
            versions[key] = (await client.get(f"/v1/entities/{key}/score", headers=headers)).json()["version"]
        share = sum(v == f"tested:{second}" for v in versions.values()) / len(versions)
        assert 0.15 < share < 0.45
        many = (await client.post("/v1/entities/score", json={"keys": list(versions)}, headers=headers)).json()["scores"]
        assert [s["version"] for s in many] == list(versions.values()), "an entity stays with its model, whatever the route"
        told = (await client.get("/admin/model", headers=headers)).json()
        assert (told["version"], told["canary"], told["canary_share"]) == ("tested:1", f"tested:{second}", 0.3)

        world.store.route_model("tested", "production", 1, shadow=second)
        await until(client, headers, lambda told: told["canary"] is None and told["shadow"] is not None)
        many = (await client.post("/v1/entities/score", json={"keys": list(versions)}, headers=headers)).json()["scores"]
        assert {s["version"] for s in many} == {"tested:1"}
        told = await until(client, headers, lambda told: told["shadow"]["scored"] >= len(versions))
        assert told["shadow"]["labels"] == told["shadow"]["numbers"] == 0, "the same model in other bytes answers the same"
        assert metric("app_model_info", role="shadow", digest="", version=f"tested:{second}") == 1
    finally:
        world.store.promote_model("tested", "production", 1)
