"""The registry's aliases decide what serves: a promotion swaps under load, a misfit is refused, the canary takes its share."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cenote
import pytest
from conftest import World, metric, repacked

pytestmark = pytest.mark.live


async def serves(client: Any, headers: dict[str, str], version: str, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (await client.get("/admin/model", headers=headers)).json()["version"] == version:
            return True
        await asyncio.sleep(0.05)
    return False


async def test_promotion_swaps_and_a_misfit_does_not(start: Callable[..., Any], world: World, headers: dict[str, str]) -> None:
    client = await start(**world.settings)
    second = world.store.register_model("tested", cenote.load(repacked(Path(os.environ["TEST_MODEL"]).read_bytes())))
    misfit = world.store.register_model("tested", cenote.load(os.environ["TEST_MISFIT"]))
    stop, seen, keys = asyncio.Event(), set(), list(world.expected)

    async def load() -> int:
        count = 0
        while not stop.is_set():
            key = keys[count % len(keys)]
            got = await client.get(f"/v1/entities/{key}/score", headers=headers)
            assert got.status_code == 200 and world.agrees(key, got.json()["prediction"]), got.text
            seen.add(got.json()["version"])
            count += 1
        return count

    callers = [asyncio.create_task(load()) for _ in range(3)]
    try:
        for version in (second.version, 1, second.version):
            world.store.promote_model("tested", "production", version)
            assert await serves(client, headers, f"tested:{version}")
        refused = metric("app_swaps_total", outcome="refused")
        world.store.promote_model("tested", "production", misfit.version)
        await asyncio.sleep(1)
        assert metric("app_swaps_total", outcome="refused") == refused + 1, "tried once, and not over and over"
        assert await serves(client, headers, f"tested:{second.version}"), "the old model goes on serving"
        world.store.promote_model("tested", "production", 1)
        assert await serves(client, headers, "tested:1")
    finally:
        world.store.promote_model("tested", "production", 1)
        stop.set()
        counts = await asyncio.gather(*callers)
    assert sum(counts) > 50 and seen == {"tested:1", f"tested:{second.version}"}


async def test_the_canary_alias_takes_its_share(start: Callable[..., Any], world: World, headers: dict[str, str]) -> None:
    second = world.store.register_model("tested", cenote.load(repacked(Path(os.environ["TEST_MODEL"]).read_bytes())))
    world.store.promote_model("tested", "canary", second.version)
    client = await start(**world.settings, canary="tested@canary", canary_share=0.3)
    versions = {}
    for key in world.expected:
        versions[key] = (await client.get(f"/v1/entities/{key}/score", headers=headers)).json()["version"]
    share = sum(v == f"tested:{second.version}" for v in versions.values()) / len(versions)
    assert 0.15 < share < 0.45
    again = {k: (await client.get(f"/v1/entities/{k}/score", headers=headers)).json()["version"] for k in list(versions)[:50]}
    assert all(versions[k] == v for k, v in again.items()), "an entity stays with its model"
