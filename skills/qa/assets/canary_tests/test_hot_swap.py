"""Swapping models under load: no request fails or sees two models, a refused one never serves, nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import weakref
from collections.abc import Callable
from typing import Any

from app.scoring import Loaded, Slots

ROWS = {"rows": [{"x": 1.0}, {"x": 2.0}]}


async def test_a_request_sees_one_model_and_none_fails(serve: Callable[..., Any], headers: dict[str, str]) -> None:
    client = await serve()
    path = client.application.state.settings.model_path
    known = {hashlib.sha256(b).hexdigest(): float(b) for b in (b"2", b"3")}
    stop = asyncio.Event()
    seen = set()

    async def load() -> int:
        count = 0
        while not stop.is_set():
            got = await client.post("/v1/score", json=ROWS, headers=headers)
            assert got.status_code == 200
            factor = known[got.json()["model"]]
            assert [p["predict"] for p in got.json()["predictions"]] == [factor, 2 * factor]
            seen.add(factor)
            count += 1
        return count

    callers = [asyncio.create_task(load()) for _ in range(4)]
    for turn in range(10):
        data = b"3" if turn % 2 == 0 else b"2"
        path.write_bytes(data)
        swapped = await client.post("/admin/model", json={"sha256": hashlib.sha256(data).hexdigest()}, headers=headers)
        assert swapped.status_code == 200
        refused = await client.post("/admin/model", json={"sha256": "f" * 64}, headers=headers)
        assert refused.status_code == 409
    stop.set()
    assert sum(await asyncio.gather(*callers)) > 20 and seen == {2.0, 3.0}


async def test_old_models_are_freed(serve: Callable[..., Any], headers: dict[str, str]) -> None:
    alive: list[weakref.ref[Any]] = []

    class Tracked:
        def __init__(self, data: bytes) -> None:
            alive.append(weakref.ref(self))

        def predict(self, data: Any) -> Any:
            return {"predict": 0.0} if isinstance(data, dict) else [{"predict": 0.0} for _ in data]

    client = await serve(Tracked)
    body = {"sha256": hashlib.sha256(b"2").hexdigest()}
    for _ in range(20):
        assert (await client.post("/admin/model", json=body, headers=headers)).status_code == 200
        assert (await client.post("/v1/score", json=ROWS, headers=headers)).status_code == 200
    gc.collect()
    assert sum(ref() is not None for ref in alive) <= 2, "swapped models stay in memory"


def test_the_canary_takes_its_share_and_an_entity_stays_with_its_model() -> None:
    active, canary = Loaded(object(), "a", "a"), Loaded(object(), "c", "c")  # type: ignore[arg-type]
    slots = Slots(active, canary, 0.1)
    roles = [slots.choose(str(i))[0] for i in range(20_000)]
    assert abs(roles.count("canary") / 20_000 - 0.1) < 0.01
    assert roles == [slots.choose(str(i))[0] for i in range(20_000)]
    wider = Slots(active, canary, 0.2)
    assert all(wider.choose(str(i))[0] == "canary" for i, role in enumerate(roles) if role == "canary"), (
        "a wider canary keeps whom it had"
    )
    assert Slots(active, canary, 0.0).choose("x")[0] == "active" and Slots(active).choose("x")[0] == "active"
