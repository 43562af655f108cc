"""Fixtures of all suites: the application in this process, with a model that can be computed by hand."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import jwt
import pytest
from app.main import create_app
from app.settings import Settings
from asgi_lifespan import LifespanManager

KEY = "k" * 40


class Scaling:
    """Multiplies x by the number that its bytes spell."""

    def __init__(self, data: bytes) -> None:
        self.factor = float(data)

    def predict(self, data: Any) -> Any:
        return {"predict": data["x"] * self.factor} if isinstance(data, dict) else [self.predict(row) for row in data]


@pytest.fixture
def headers() -> dict[str, str]:
    claims = {
        "sub": "qa",
        "iss": "https://auth.example.com/",
        "aud": "scoring-api",
        "exp": time.time() + 600,
        "scope": "score:read model:admin",
    }
    return {"Authorization": "Bearer " + jwt.encode(claims, KEY, algorithm="HS256")}


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """`await serve(open_model=..., **settings)` starts the application and gives its client; all are stopped at the end."""
    managers = []

    async def start(open_model: Callable[[bytes], Any] = Scaling, model: bytes = b"2", **changes: Any) -> httpx.AsyncClient:
        path = tmp_path / "model.zip"
        path.write_bytes(model)
        application = create_app(Settings(model_path=path, jwt_key=KEY, **{"rate_limit": "100000/second", **changes}), open_model)
        manager = LifespanManager(application)
        await manager.__aenter__()
        client = httpx.AsyncClient(transport=httpx.ASGITransport(manager.app), base_url="http://test")
        client.application = application  # type: ignore[attr-defined]
        managers.append((manager, client))
        return client

    yield start
    for manager, client in reversed(managers):
        await client.aclose()
        await manager.__aexit__()
