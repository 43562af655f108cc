"""The loop of real ASGI apps, driven in this process: what blocks is named by its line, what does not is left alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import SKILLS, Run, run, script

for package in ("blockbuster", "fastapi"):
    pytest.importorskip(package)
APP = """
import asyncio
import time
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException


@asynccontextmanager
async def lifespan(app):
    print("starting")
    app.state.ready = True
    yield
    app.state.ready = False


app = FastAPI(lifespan=lifespan)


def helper():
    time.sleep(0.4)  # line 21


@app.get("/sleeps")
async def sleeps():
    helper()
    return {}


@app.get("/computes")
async def computes():
    end = time.perf_counter() + 0.4
    while time.perf_counter() < end:
        pass
    return {}


@app.post("/good")
async def good(body: dict):
    await asyncio.sleep(0.01)
    await asyncio.to_thread(time.sleep, 0.3)
    assert app.state.ready
    return body


@app.get("/hides")
async def hides():
    try:
        time.sleep(0.001)
    except Exception:
        raise HTTPException(503) from None
    return {}


@app.get("/fails")
async def fails():
    raise KeyError("no such thing")
"""


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    name = "looped_" + "".join(c if c.isalnum() else "_" for c in request.node.name)
    (tmp_path / f"{name}.py").write_text(APP.lstrip("\n"))
    yield tmp_path / name
    sys.modules.pop(name, None)


def measured(folder: Path, *more: str) -> Run:
    return run(
        "measure_event_loop", f"{folder.name}:app", "--app-dir", folder.parent, "--repeat", "2", "--threshold-ms", "200", *more
    )


def test_an_app_that_only_awaits_passes(folder: Path) -> None:
    result = measured(folder, "--request", 'POST /good {"a": 1}')
    assert result.code == 0, result.out + result.err
    assert result.json["data"]["requests"]["POST /good"]["statuses"] == {"200": 2}
    assert "starting" in result.err, "what the app prints goes to stderr"


def test_a_sleep_is_named_by_its_line(folder: Path) -> None:
    result = measured(folder, "--request", "GET /sleeps")
    assert {(f["rule_id"], f["line"]) for f in result.json["findings"]} == {("LAG001", 20), ("LAG003", 20)}
    assert "sleeps" in result.json["findings"][0]["evidence"]
    assert measured(folder, "--request", "GET /sleeps", "--no-blockbuster").rules() == {"LAG001"}


def test_computing_holds_the_loop_and_makes_no_blocking_call(folder: Path) -> None:
    result = measured(folder, "--request", "GET /computes")
    assert result.rules() == {"LAG001"} and {f["line"] for f in result.json["findings"]} <= {31, 32}


def test_a_handler_cannot_hide_a_blocking_call(folder: Path) -> None:
    assert measured(folder, "--request", "GET /hides").rules() == {"LAG003"}


def test_requests_that_fail_prove_nothing(folder: Path) -> None:
    result = measured(folder, "--request", "GET /fails")
    assert result.rules() == {"LAG002"} and result.json["findings"][0]["line"] == 56
    assert measured(folder, "--request", "GET /absent").rules() == {"LAG002"}


def test_start_up_that_fails_or_hangs(tmp_path: Path) -> None:
    (tmp_path / "bad_start.py").write_text(
        "async def app(scope, receive, send):\n    await receive()\n    await send({'type': 'lifespan.startup.failed', 'message': 'no settings'})\n"
        "async def hangs(scope, receive, send):\n    await receive()\n    await receive()\n    await receive()\n"
    )
    result = run("measure_event_loop", "bad_start:app", "--app-dir", tmp_path)
    assert result.code == 1 and result.rules() == {"LAG004"} and "no settings" in result.out
    assert run("measure_event_loop", "bad_start:hangs", "--app-dir", tmp_path, "--timeout", "2").rules() == {"LAG004"}


def test_a_plain_asgi_app_needs_no_framework_and_no_lifespan(tmp_path: Path) -> None:
    (tmp_path / "plain_asgi.py").write_text(
        "def make():\n    async def app(scope, receive, send):\n        assert scope['type'] == 'http'\n"
        "        await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "        await send({'type': 'http.response.body', 'body': b''})\n    return app\n"
    )
    assert run("measure_event_loop", "plain_asgi:make", "--factory", "--app-dir", tmp_path).code == 0


def test_bad_usage(folder: Path, tmp_path: Path) -> None:
    assert run("measure_event_loop", "nosuchmodule_at_all:app", "--app-dir", tmp_path).code == 3
    assert run("measure_event_loop", "app", "--app-dir", tmp_path).code == 2
    assert measured(folder, "--request", "nonsense").code == 2
    assert measured(folder, "--request", "POST /good {").code == 2
    assert measured(folder, "--header", "nonsense").code == 2
    assert measured(folder, "--repeat", "0").code == 2


def test_the_service_template_keeps_its_loop_free(tmp_path: Path) -> None:
    """The real template, its start-up, its scoring route and its GraphQL-less health route, in a process of their own."""
    for package in ("asyncpg", "limits", "strawberry", "jwt", "pydantic_settings", "prometheus_client"):
        pytest.importorskip(package)
    import jwt

    shutil.copytree(SKILLS / "fastapi-pro/assets/app", tmp_path / "app")
    (tmp_path / "model.zip").write_bytes(b"2")
    (tmp_path / "served.py").write_text(
        "from app.main import create_app\nfrom app.settings import Settings\n\n\nclass Model:\n    def __init__(self, data):\n        self.factor = float(data)\n\n"
        "    def predict(self, data):\n        one = isinstance(data, dict)\n        rows = [{'predict': row['x'] * self.factor} for row in ([data] if one else data)]\n        return rows[0] if one else rows\n\n\n"
        f"app = create_app(Settings(model_path={str(tmp_path / 'model.zip')!r}, jwt_key='k' * 40, rate_limit='100000/second', drain_seconds=0), Model)\n"
    )
    claims = {
        "sub": "a",
        "iss": "https://auth.example.com/",
        "aud": "scoring-api",
        "exp": time.time() + 600,
        "scope": "score:read",
    }
    command = [
        sys.executable, script("measure_event_loop"), "served:app", "--app-dir", tmp_path, "--threshold-ms", "400", "--format", "json",
        "--request", "GET /health/live", "--request", 'POST /v1/score {"rows": [{"x": 1}, {"x": 2}]}',
        "--header", "Authorization: Bearer " + jwt.encode(claims, "k" * 40, algorithm="HS256"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    statuses = {label: entry["statuses"] for label, entry in json.loads(done.stdout)["data"]["requests"].items()}
    assert statuses == {"GET /health/live": {"200": 50}, "POST /v1/score": {"200": 50}}
