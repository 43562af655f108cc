"""The loop of two small applications: one free, one that computes on it; and applications that cannot be measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support import script

APP = """
import asyncio


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"].endswith("shutdown"):
                return
    if scope["path"] == "/busy":
        sum(range(8_000_000))  # stuck here
    if scope["path"] == "/broken":
        raise RuntimeError("no")
    await asyncio.sleep(0.001)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
"""


def measure(folder: Path, *more: str) -> tuple[int, dict]:
    (folder / "small_app.py").write_text(APP)
    command = [
        sys.executable,
        str(script("measure_event_loop")),
        "small_app:app",
        "--app-dir",
        str(folder),
        "--format",
        "json",
        *more,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_free_loop_passes(tmp_path: Path) -> None:
    code, result = measure(tmp_path, "--request", "GET /", "--repeat", "20", "--threshold-ms", "400")
    assert code == 0 and result["scanned"] == 20


def test_the_line_that_blocks_is_named(tmp_path: Path) -> None:
    code, result = measure(tmp_path, "--request", "GET /busy", "--repeat", "3", "--threshold-ms", "25")
    assert code == 1
    finding = result["findings"][0]
    assert finding["rule_id"] == "LAG001" and finding["path"].endswith("small_app.py") and "stuck here" in finding["evidence"]


def test_failing_requests_are_no_pass(tmp_path: Path) -> None:
    code, result = measure(tmp_path, "--request", "GET /broken", "--repeat", "2", "--threshold-ms", "400")
    assert code == 1 and {f["rule_id"] for f in result["findings"]} == {"LAG002"}


def test_what_cannot_be_measured(tmp_path: Path) -> None:
    command = [sys.executable, str(script("measure_event_loop")), "nosuch:app", "--app-dir", str(tmp_path)]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 3
    assert measure(tmp_path, "--request", "nonsense")[0] == 2
