"""The service end to end, in this process: tokens, scoring, limits, the model's swap, and what happens when Redis is away."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import jwt
import pytest
from app.main import create_app
from app.settings import Settings
from asgi_lifespan import LifespanManager
from blockbuster import BlockBuster

KEY = "k" * 40


class Doubling:
    """A model that can be computed by hand. Its bytes say by what it multiplies; anything else is no model."""

    def __init__(self, data: bytes) -> None:
        self.factor = float(data)

    def predict(self, data: Any) -> Any:
        if isinstance(data, dict):
            if "x" not in data:
                raise ValueError("row 0 has no column x")
            return {"predict": data["x"] * self.factor if data["x"] is not None else float("nan")}
        return [self.predict(row) for row in data]


def token(scope: str = "score:read", **changes: Any) -> dict[str, str]:
    claims = {
        "sub": "ada",
        "iss": "https://auth.example.com/",
        "aud": "scoring-api",
        "exp": time.time() + 60,
        "scope": scope,
        **changes,
    }
    return {"Authorization": "Bearer " + jwt.encode({k: v for k, v in claims.items() if v is not None}, KEY, algorithm="HS256")}


@pytest.fixture
async def client(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    (tmp_path / "model.zip").write_bytes(b"2")
    settings = Settings(model_path=tmp_path / "model.zip", jwt_key=KEY, **getattr(request, "param", {}))
    app = create_app(settings, Doubling)
    async with (
        LifespanManager(app) as manager,
        httpx.AsyncClient(transport=httpx.ASGITransport(manager.app), base_url="http://t") as c,
    ):
        c.folder = tmp_path  # type: ignore[attr-defined]
        yield c


@pytest.fixture(autouse=True)
def nothing_blocks() -> AsyncIterator[None]:
    """Any blocking call on the event loop raises, in every test of this file."""
    guard = BlockBuster(scanned_modules=["app"])
    guard.activate()
    for function in guard.functions.values():
        function.can_block_in("redis/utils.py", "get_lib_version")  # reads its package's metadata once, at its first connection
    guard.functions["os.stat"].deactivate()  # an import at a first call looks for its file
    yield
    guard.deactivate()


async def test_scores_rows_in_order(client: httpx.AsyncClient) -> None:
    got = await client.post("/v1/score", json={"rows": [{"x": 1}, {"x": 2.5}, {"x": None}]}, headers=token())
    assert got.status_code == 200
    assert got.json() == {
        "model": hashlib.sha256(b"2").hexdigest(),
        "predictions": [{"predict": 2.0}, {"predict": 5.0}, {"predict": None}],
    }


async def test_v2_inference(client: httpx.AsyncClient) -> None:
    tensor = {"name": "x", "shape": [2, 1], "datatype": "FP64", "data": [1, 2]}
    got = (await client.post("/v2/models/m/infer", json={"id": "7", "inputs": [tensor]}, headers=token())).json()
    assert (
        got["outputs"] == [{"name": "predict", "shape": [2], "datatype": "FP64", "data": [2.0, 4.0], "parameters": None}]
        and got["id"] == "7"
    )
    bad = await client.post("/v2/models/m/infer", json={"inputs": [{**tensor, "shape": [3]}]}, headers=token())
    assert bad.status_code == 422


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer x"},
        token(exp=1),
        token(aud="other"),
        token(iss="https://evil/"),
        token(exp=None),
        token(sub=None),
    ],
)
async def test_a_bad_token_is_401(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    got = await client.post("/v1/score", json={"rows": [{"x": 1}]}, headers=headers)
    assert got.status_code == 401 and got.headers["WWW-Authenticate"].startswith("Bearer")


async def test_unsigned_tokens_and_missing_scopes(client: httpx.AsyncClient) -> None:
    claims = {
        "sub": "ada",
        "iss": "https://auth.example.com/",
        "aud": "scoring-api",
        "exp": time.time() + 60,
        "scope": "score:read",
    }
    unsigned = jwt.encode(claims, "", algorithm="none")
    assert (
        await client.post("/v1/score", json={"rows": [{"x": 1}]}, headers={"Authorization": f"Bearer {unsigned}"})
    ).status_code == 401
    assert (await client.post("/v1/score", json={"rows": [{"x": 1}]}, headers=token("other"))).status_code == 403
    assert (await client.get("/admin/model", headers=token())).status_code == 403


async def test_bad_bodies(client: httpx.AsyncClient) -> None:
    for body in ({}, {"rows": []}, {"rows": [{"x": [1]}]}, {"rows": [{"x": 1}], "extra": 1}, {"rows": [{"y": 1}]}):
        assert (await client.post("/v1/score", json=body, headers=token())).status_code == 422, body
    assert (await client.get("/v1/entities/1/score", headers=token())).status_code == 404


@pytest.mark.parametrize("client", [{"max_rows": 2}], indirect=True)
async def test_too_many_rows(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/score", json={"rows": [{"x": 1}] * 3}, headers=token())).status_code == 413


@pytest.mark.parametrize(
    "client", [{"rate_limit": "3/minute"}, {"rate_limit": "3/minute", "redis_url": "redis://127.0.0.1:1/0"}], indirect=True
)
async def test_limits_hold_without_redis_and_with_a_dead_one(client: httpx.AsyncClient) -> None:
    codes = [(await client.post("/v1/score", json={"rows": [{"x": 1}]}, headers=token())).status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]
    assert (await client.post("/v1/score", json={"rows": [{"x": 1}]}, headers=token(sub="bob"))).status_code == 200


async def test_swap_and_refusal(client: httpx.AsyncClient) -> None:
    admin, path = token("model:admin"), client.folder / "model.zip"  # type: ignore[attr-defined]
    path.write_bytes(b"3")
    wrong = await client.post("/admin/model", json={"sha256": "0" * 64}, headers=admin)
    assert wrong.status_code == 409
    assert (await client.post("/v1/score", json={"rows": [{"x": 1}]}, headers=token())).json()["predictions"] == [
        {"predict": 2.0}
    ]
    right = await client.post("/admin/model", json={"sha256": hashlib.sha256(b"3").hexdigest()}, headers=admin)
    assert right.status_code == 200
    assert (await client.post("/v1/score", json={"rows": [{"x": 1}]}, headers=token())).json()["predictions"] == [
        {"predict": 3.0}
    ]
    path.write_bytes(b"not a model")
    assert (
        await client.post("/admin/model", json={"sha256": hashlib.sha256(b"not a model").hexdigest()}, headers=admin)
    ).status_code == 409


async def test_health_and_metrics(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/live")).status_code == 200
    assert (await client.get("/health/ready")).json()["status"] == "ready"
    await client.post("/v1/score", json={"rows": [{"x": 1}]}, headers=token())
    text = (await client.get("/metrics")).text
    assert 'app_model_info{digest="' in text and 'app_request_seconds_count{route="/v1/score"' in text
