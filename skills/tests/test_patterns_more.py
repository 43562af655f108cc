"""The deadline and the memory split of backend-architect, and the linter over all of its patterns and the service's template."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from test_patterns import PATTERNS, pattern

from support import SKILLS, run


def test_a_deadline_bounds_every_hop_below_it() -> None:
    d = pattern("deadline")

    async def child() -> bool:
        return d.remaining(5) <= 0.2

    async def body() -> None:
        assert d.remaining(5) == 5
        async with d.deadline(0.2):
            assert d.remaining(5) <= 0.2
            async with d.deadline(9):
                assert d.remaining(5) <= 0.2, "an inner deadline cannot be later"
            assert await asyncio.gather(child()) == [True]
        assert d.remaining(5) == 5
        with pytest.raises(TimeoutError):
            async with d.deadline(0.01):
                await asyncio.sleep(1)
        with pytest.raises(d.DeadlinePassed):
            d.remaining(0)

    asyncio.run(body())


def test_memory_is_refused_before_it_is_taken(tmp_path: Path) -> None:
    m = pattern("memory")
    split = m.Split(limit=1024 * m.MIB, workers=2, base=135 * m.MIB)
    assert split.for_models == 1024 * m.MIB * 85 // 200 - 135 * m.MIB
    assert split.require(50 * m.MIB) == 200 * m.MIB
    with pytest.raises(m.NoRoom, match="beside 200 MiB"):
        split.require(50 * m.MIB, held=200 * m.MIB)
    machine = m.container_limit(tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    assert m.container_limit(tmp_path) == machine
    (tmp_path / "memory.max").write_text("1048576\n")
    assert m.container_limit(tmp_path) == 1048576


def test_the_templates_pass_the_linter() -> None:
    for target in (PATTERNS, SKILLS / "fastapi-pro/assets/app"):
        result = run("lint_resilience", target, "--fail-on", "warning")
        assert result.code == 0, result.out
