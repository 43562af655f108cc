"""The resilience patterns of backend-architect, each by the failure it is for."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import time
from types import ModuleType
from typing import Any

import pytest

from support import SKILLS

PATTERNS = SKILLS / "backend-architect/assets/patterns"


def pattern(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"pattern_{name}", PATTERNS / f"{name}.py")
    assert spec and spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_breaker_is_the_services_own() -> None:
    """One source, which qa's unit tests prove."""
    assert (PATTERNS / "circuit_breaker.py").read_bytes() == (SKILLS / "fastapi-pro/assets/app/breaker.py").read_bytes()


def test_retry_succeeds_gives_up_and_keeps_its_deadline() -> None:
    module = pattern("retry")
    calls: list[int] = []

    async def flaky() -> int:
        calls.append(1)
        if len(calls) < 3:
            raise OSError
        return 7

    async def failing() -> int:
        calls.append(1)
        raise OSError

    async def stuck() -> None:
        await asyncio.sleep(10)

    async def run() -> None:
        assert await module.retry(flaky, (OSError,), deadline=2, budget=module.Budget()) == 7
        calls.clear()
        with pytest.raises(OSError):
            await module.retry(failing, (OSError,), deadline=2, budget=module.Budget())
        assert len(calls) == 3
        calls.clear()
        with pytest.raises(OSError):
            await module.retry(failing, (OSError,), deadline=2, budget=module.Budget(most=0.5))
        assert len(calls) == 1, "no budget, no retry"
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            await module.retry(stuck, (OSError, TimeoutError), deadline=0.1, budget=module.Budget())
        assert time.monotonic() - start < 1

    asyncio.run(run())


def test_bulkhead_sheds_and_frees_its_places() -> None:
    module = pattern("bulkhead")

    async def run() -> None:
        bulkhead = module.Bulkhead(2, 1)
        release = asyncio.Event()

        async def work() -> str:
            try:
                async with bulkhead.enter():
                    await release.wait()
                    return "done"
            except module.Overloaded:
                return "shed"

        tasks = [asyncio.create_task(work()) for _ in range(5)]
        await asyncio.sleep(0.01)
        tasks[2].cancel()  # a waiting caller that leaves gives up its place in the queue
        await asyncio.sleep(0.01)
        late = asyncio.create_task(work())
        await asyncio.sleep(0.01)
        release.set()
        got = await asyncio.gather(*tasks, late, return_exceptions=True)
        assert [g if isinstance(g, str) else "left" for g in got] == ["done", "done", "left", "shed", "shed", "done"]
        assert await work() == "done"

    asyncio.run(run())


def test_a_list_with_children_costs_one_query() -> None:
    pytest.importorskip("strawberry")
    module = pattern("graphql_dataloader")
    queries: list[list[int]] = []

    async def fetch(ids: list[int]) -> dict[int, list[float]]:
        queries.append(ids)
        return {i: [i * 1.5] for i in ids if i != 3}

    async def run() -> Any:
        return await module.schema.execute("{ customers(ids: [1, 2, 3, 1]) { id orders } }", context_value=module.context(fetch))

    result = asyncio.run(run())
    assert result.errors is None
    assert [c["orders"] for c in result.data["customers"]] == [[1.5], [3.0], [], [1.5]]
    assert queries == [[1, 2, 3]]
