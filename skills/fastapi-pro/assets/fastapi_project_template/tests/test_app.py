"""The service end to end, in this process: tokens, scoring, limits, the model's swap, traces, and what happens when Redis is away.

No server is needed; the suites of the qa skill run the same service on a real PostgreSQL, a real Redis and a real model.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.server
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import jwt
import pytest
from app.main import create_app
from app.settings import Settings
from asgi_lifespan import LifespanManager
from blockbuster import BlockBuster
from cryptography.hazmat.primitives.asymmetric import rsa
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import ValidationError

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
    settings = Settings(**{"model_path": tmp_path / "model.zip", "jwt_key": KEY, **getattr(request, "param", {})})
    app = create_app(settings, Doubling)
    async with (
        LifespanManager(app) as manager,
        httpx.AsyncClient(transport=httpx.ASGITransport(manager.app), base_url="http://t") as c,
    ):
        c.folder, c.application = tmp_path, app  # type: ignore[attr-defined]
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
    got = (await client.post("/v2/models/model/infer", json={"id": "7", "inputs": [tensor]}, headers=token())).json()
    assert got["outputs"] == [{"name": "predict", "shape": [2], "datatype": "FP64", "data": [2.0, 4.0], "parameters": None}]
    assert got["id"] == "7" and got["model_name"] == "model"
    nested = await client.post("/v2/models/model/infer", json={"inputs": [{**tensor, "data": [[1], [2]]}]}, headers=token())
    assert nested.json()["outputs"] == got["outputs"]
    for bad in ({"shape": [3]}, {"shape": [2, 2]}, {"data": ["1", "2"]}, {"data": [True, False]}, {"datatype": "FP128"}):
        refused = await client.post("/v2/models/model/infer", json={"inputs": [{**tensor, **bad}]}, headers=token())
        assert refused.status_code == 422, bad
    twice = await client.post("/v2/models/model/infer", json={"inputs": [tensor, tensor]}, headers=token())
    assert twice.status_code == 422 and "error" in twice.json()
    unknown = {"inputs": [tensor], "outputs": [{"name": "other"}]}
    assert (await client.post("/v2/models/model/infer", json=unknown, headers=token())).status_code == 422


async def test_v2_says_what_is_there(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v2/health/live")).json() == {"live": True}
    assert (await client.get("/v2/health/ready")).json() == {"ready": True}
    assert (await client.get("/v2")).json()["name"] == "Scoring API"
    assert (await client.get("/v2/models/model/ready")).json() == {"name": "model", "ready": True}
    assert (await client.get("/v2/models/model", headers=token())).json()["platform"] == "h2o_mojo"
    assert (await client.get("/v2/models/other/ready")).status_code == 404
    other = await client.get("/v2/models/other", headers=token())
    assert other.status_code == 404 and "other" in other.json()["error"]


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


async def test_draining_is_not_ready_but_alive(client: httpx.AsyncClient) -> None:
    client.application.state.draining = True  # type: ignore[attr-defined]
    assert (await client.get("/health/ready")).status_code == 503 and (await client.get("/v2/health/ready")).status_code == 503
    assert (await client.get("/health/live")).status_code == 200


@pytest.mark.parametrize("client", [{"max_body_bytes": 100}], indirect=True)
async def test_a_body_too_large_is_refused_before_it_is_read_whole(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/score", json={"rows": [{"x": 1}]}, headers=token())).status_code == 200
    got = await client.post("/v1/score", json={"rows": [{"x": 1}] * 100}, headers=token())
    assert got.status_code == 413 and got.json() == {"detail": "at most 100 bytes a request"}


async def test_traces_name_the_route_and_the_score_and_hold_no_value(tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(b"2")
    exporter = InMemorySpanExporter()
    settings = Settings(model_path=tmp_path / "model.zip", jwt_key=KEY)
    app = await asyncio.to_thread(create_app, settings, Doubling, exporter)  # instrumentation reads its packages' metadata
    async with (
        LifespanManager(app) as manager,
        httpx.AsyncClient(transport=httpx.ASGITransport(manager.app), base_url="http://t") as c,
    ):
        assert (await c.post("/v1/score", json={"rows": [{"x": 4242}]}, headers=token())).status_code == 200
        assert (await c.get("/health/live")).status_code == 200
    spans = exporter.get_finished_spans()  # written by the shutdown, which waits for them
    score = next(s for s in spans if s.name == "score")
    request = next(s for s in spans if s.name == "POST /v1/score" and s.parent is None)
    assert score.context.trace_id == request.context.trace_id and score.attributes["rows"] == 1
    text = json.dumps([json.loads(s.to_json()) for s in spans])
    assert "4242" not in text and "Bearer" not in text and "/health/live" not in text


class Provider(http.server.BaseHTTPRequestHandler):
    """An OIDC provider's key set, and a collector of traces."""

    keys: dict[str, Any] = {}
    traces: list[tuple[str, int]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.traces.append((self.path, len(body)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        body = json.dumps(self.keys).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def provider() -> Iterator[tuple[str, rsa.RSAPrivateKey]]:
    private = rsa.generate_private_key(65537, 2048)
    public = jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
    Provider.keys = {"keys": [{**public, "kid": "one", "use": "sig", "alg": "RS256"}]}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/jwks", private
    server.shutdown()
    server.server_close()


async def test_traces_arrive_at_an_otlp_endpoint(provider: tuple[str, rsa.RSAPrivateKey], tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(b"2")
    endpoint = provider[0].removesuffix("/jwks")
    settings = Settings(model_path=tmp_path / "model.zip", jwt_key=KEY, otlp_endpoint=endpoint)
    app = await asyncio.to_thread(create_app, settings, Doubling)
    async with (
        LifespanManager(app) as manager,
        httpx.AsyncClient(transport=httpx.ASGITransport(manager.app), base_url="http://t") as c,
    ):
        assert (await c.post("/v1/score", json={"rows": [{"x": 1}]}, headers=token())).status_code == 200
    assert [path for path, size in Provider.traces if size > 100] == ["/v1/traces"]


async def test_tokens_of_an_oidc_provider(provider: tuple[str, rsa.RSAPrivateKey], tmp_path: Path) -> None:
    url, private = provider
    (tmp_path / "model.zip").write_bytes(b"2")
    claims = {
        "sub": "ada",
        "iss": "https://auth.example.com/",
        "aud": "scoring-api",
        "exp": time.time() + 60,
        "scope": "score:read",
    }
    other = rsa.generate_private_key(65537, 2048)
    public = private.public_key().public_numbers().n.to_bytes(256)
    app = create_app(Settings(model_path=tmp_path / "model.zip", jwks_url=url), Doubling)
    async with (
        LifespanManager(app) as manager,
        httpx.AsyncClient(transport=httpx.ASGITransport(manager.app), base_url="http://t") as c,
    ):

        async def status(signed: str) -> int:
            headers = {"Authorization": f"Bearer {signed}"}
            return (await c.post("/v1/score", json={"rows": [{"x": 1}]}, headers=headers)).status_code

        assert await status(jwt.encode(claims, private, algorithm="RS256", headers={"kid": "one"})) == 200
        assert await status(jwt.encode(claims, other, algorithm="RS256", headers={"kid": "one"})) == 401
        assert await status(jwt.encode(claims, private, algorithm="RS256", headers={"kid": "two"})) == 401
        # The algorithm is the server's choice: a token that is "signed" with the public key as an HMAC secret is refused.
        assert await status(jwt.encode(claims, public, algorithm="HS256", headers={"kid": "one"})) == 401
        Provider.keys = {}


@pytest.mark.parametrize(
    "wrong",
    [{}, {"jwt_key": KEY, "jwks_url": "http://x/"}, {"jwt_key": "short"}, {"jwt_key": KEY, "model": "late@production"}],
)
def test_settings_that_contradict_themselves_are_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        Settings(model_path=tmp_path / "model.zip", **wrong)
