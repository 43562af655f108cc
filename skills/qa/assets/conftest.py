"""Fixtures of all suites: the application in this process, with a model that can be computed by hand, or (`world`) with a real one.

`world` is a private PostgreSQL and a private Redis, seeded with a feature view, its rows, raw documents and a registered model:

    TEST_MODEL   a MOJO                         TEST_ROWS      CSV: the view's one key column, and its features
    TEST_VIEW    the feature view's JSON        TEST_EXPECTED  CSV: the key, then the outputs that H2O gives, in order
    TEST_MISFIT  a MOJO that reads other columns than the view has

Without them, or without the servers' programs, the tests marked `live` are skipped.
"""

from __future__ import annotations

import csv
import io
import json
import os
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cenote
import httpx2 as httpx
import jwt
import pytest
import servers
from app.main import create_app
from app.settings import Settings
from asgi_lifespan import LifespanManager
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from prometheus_client import REGISTRY

KEY = "k" * 40
NEEDED = ("TEST_MODEL", "TEST_VIEW", "TEST_ROWS", "TEST_EXPECTED", "TEST_MISFIT")


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
async def start() -> AsyncIterator[Callable[..., Any]]:
    """`await start(*create_app's arguments after the settings, **settings)` starts an application and gives its client."""
    async with AsyncExitStack() as stack:

        async def started(*more: Any, **settings: Any) -> httpx.AsyncClient:
            application = create_app(Settings(**{"jwt_key": KEY, "rate_limit": "100000/second", **settings}), *more)
            manager = await stack.enter_async_context(LifespanManager(application, startup_timeout=30))
            transport = httpx.ASGITransport(manager.app)
            client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://test"))
            client.application = application  # type: ignore[attr-defined]
            return client

        yield started


@pytest.fixture
def serve(start: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """`await serve(open_model, model bytes, **settings)`: the application with a model in a file."""

    async def served(open_model: Callable[[bytes], Any] = Scaling, model: bytes = b"2", **settings: Any) -> httpx.AsyncClient:
        (tmp_path / "model.zip").write_bytes(model)
        return await start(open_model, model_path=tmp_path / "model.zip", **settings)

    return served


@dataclass
class World:
    """Real servers, a real model and rows with H2O's own answers."""

    postgres: servers.Postgres
    redis: servers.Redis
    store: cenote.FeatureStore
    view: Path
    name: str
    signing_key: str
    trusted_keys: Path
    expected: dict[str, list[str]]

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "model": f"{self.name}@production",
            "view_path": self.view,
            "database_url": self.postgres.url,
            "redis_url": self.redis.url,
            "raw_table": "raw_documents",
            "database_timeout": 2.0,
            "redis_timeout": 0.5,
            "trusted_keys_path": self.trusted_keys,
        }

    def register(self, mojo: bytes, *, signed: bool = True) -> int:
        """A version of the model with two golden rows, signed or not."""
        model = cenote.load(mojo)
        ones = {name: 1.0 if kind == "numeric" else None for name, kind in model.feature_types.items()}
        rows = [dict.fromkeys(model.feature_names), ones]
        return self.store.register_model(
            self.name, model, golden_rows=rows, signing_key=self.signing_key if signed else None
        ).version

    def agrees(self, key: str, prediction: dict[str, Any]) -> bool:
        """Whether a prediction is H2O's: the label, and each number to within two units in the last place."""
        import math

        label, *numbers = self.expected[key]
        got, *ours = prediction.values()
        return got == label and all(abs(a - float(b)) <= 2 * math.ulp(float(b)) for a, b in zip(ours, numbers, strict=True))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if lacking := [name for name in NEEDED if name not in os.environ]:
        pytest.skip(f"{', '.join(lacking)} not set")
    with ExitStack() as stack:
        try:
            postgres, redis = stack.enter_context(servers.postgres()), stack.enter_context(servers.redis())
        except servers.NotInstalled as error:
            pytest.skip(str(error))
        store = stack.enter_context(cenote.FeatureStore.connect(postgres.url, write_timeout=60))
        view = cenote.View(Path(os.environ["TEST_VIEW"]).read_text())
        seed(store, view, Path(os.environ["TEST_ROWS"]))
        documents(postgres.url, view, Path(os.environ["TEST_ROWS"]))
        store.apply_registry()
        private, public = key_pair(tmp_path_factory.mktemp("keys"))
        with Path(os.environ["TEST_EXPECTED"]).open(newline="") as handle:
            expected = {row[0]: row[1:] for row in list(csv.reader(handle))[1:]}
        made = World(postgres, redis, store, Path(os.environ["TEST_VIEW"]), "tested", private, public, expected)
        store.promote_model("tested", "production", made.register(Path(os.environ["TEST_MODEL"]).read_bytes()))
        yield made


def key_pair(folder: Path) -> tuple[str, Path]:
    """An ed25519 key of a release job, as PEM, and the file of its public half."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    (folder / "release.public.pem").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, folder / "release.public.pem"


def seed(store: cenote.FeatureStore, view: cenote.View, path: Path) -> None:
    """Make the view's tables and write the rows, with the types that the view declares."""
    numbers = {c["name"]: c["type"] for c in [*view.to_dict()["keys"], *view.to_dict()["features"]]}
    convert: dict[str, Callable[[str], Any]] = {"text": str, "f64": float, "f32": float}
    with path.open(newline="") as handle:
        rows = [
            {name: convert.get(numbers[name], int)(cell) if cell else None for name, cell in row.items()}
            for row in csv.DictReader(handle)
        ]
    store.apply(view)
    store.upsert(view, [{**row, "event_ts": datetime.now(UTC)} for row in rows])


def documents(url: str, view: cenote.View, path: Path) -> None:
    """The rows as raw documents, in a table as db-architect's raw_store.sql has it."""
    import asyncio

    import asyncpg

    async def write() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(
            """CREATE TABLE raw_documents (event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_ts timestamptz NOT NULL,
                                           body jsonb NOT NULL);
               CREATE INDEX ON raw_documents USING gin (body jsonb_path_ops)"""
        )
        with path.open(newline="") as handle:
            rows = [{"key": row[view.keys[0]], **row} for row in csv.DictReader(handle)]
        await connection.executemany(
            "INSERT INTO raw_documents (event_ts, body) VALUES (now(), $1)", [(json.dumps(row),) for row in rows]
        )
        await connection.close()

    asyncio.run(write())


def repacked(mojo: bytes, comment: bytes = b"") -> bytes:
    """The same model in other bytes, hence with another digest."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(mojo)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new:
        for entry in old.infolist():
            new.writestr(zipfile.ZipInfo(entry.filename), old.read(entry.filename))
        new.comment = comment
    return out.getvalue()


def metric(name: str, /, **labels: str) -> float:
    """What a metric of the service says now."""
    return REGISTRY.get_sample_value(name, labels) or 0.0
