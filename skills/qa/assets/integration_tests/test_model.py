"""A real MOJO through the whole service: TEST_MODEL is its path, TEST_ROWS a JSON list of {"input": ..., "expected": ...}."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.live, pytest.mark.skipif("TEST_MODEL" not in os.environ, reason="TEST_MODEL is not set")]


async def test_golden_rows(serve: Callable[..., Any], headers: dict[str, str]) -> None:
    from app.main import open_by_cenote

    golden = json.loads(Path(os.environ["TEST_ROWS"]).read_text())
    client = await serve(open_by_cenote, Path(os.environ["TEST_MODEL"]).read_bytes())
    got = await client.post("/v1/score", json={"rows": [g["input"] for g in golden]}, headers=headers)
    assert got.status_code == 200, got.text
    for prediction, row in zip(got.json()["predictions"], golden, strict=True):
        for name, wanted in row["expected"].items():
            assert prediction[name] == (pytest.approx(wanted, rel=1e-12) if isinstance(wanted, float) else wanted)
    one = await client.post("/v1/score", json={"rows": [golden[0]["input"]]}, headers=headers)
    assert one.json()["predictions"][0] == got.json()["predictions"][0], "a row alone scores as it does in a batch"
