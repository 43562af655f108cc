"""SIGTERM to the real process: readiness turns false while requests are still taken, one under way ends well, the exit is clean."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import servers
from conftest import KEY

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [pytest.mark.live, pytest.mark.skipif("TEST_MODEL" not in os.environ, reason="TEST_MODEL is not set")]


def ask(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path)
    return connection.getresponse().status


def until(port: int, path: str, status: int | None, seconds: float = 30) -> None:
    """Wait until `path` answers with `status`; None: until nobody answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = None
        with contextlib.suppress(OSError):
            found = ask(port, path)
        if found == status:
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not come to {status}")


def test_sigterm_drains(headers: dict[str, str]) -> None:
    port = servers.free_port()
    environment = {
        **os.environ,
        "PORT": str(port),
        "APP_MODEL_PATH": os.environ["TEST_MODEL"],
        "APP_JWT_KEY": KEY,
        "APP_DRAIN_SECONDS": "2",
    }
    process = subprocess.Popen([sys.executable, "-m", "app"], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        until(port, "/health/ready", 200, 60)
        body = json.dumps({"rows": [{}]}).encode()
        slow = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        slow.putrequest("POST", "/v1/score")
        for name, value in {**headers, "content-type": "application/json", "content-length": str(len(body))}.items():
            slow.putheader(name, value)
        slow.endheaders(body[:5])
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        until(port, "/health/ready", 503, 2)
        assert ask(port, "/health/live") == 200, "draining, and still answering"
        until(port, "/health/live", None, 10)  # the drain is over: the socket is closed, the slow request is not
        slow.send(body[5:])
        assert slow.getresponse().status in (200, 422)
        assert process.wait(20) == 0, process.stderr.read() if process.stderr else ""
    finally:
        process.kill()
        process.wait(10)
