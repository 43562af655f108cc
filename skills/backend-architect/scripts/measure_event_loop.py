# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Measures the event loop of a real ASGI application, in this process: how late it gets under requests, and which line was to blame."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from _report import NotChecked, Report, Rule, Tool, Unusable, main

RULES = (
    Rule("LAG001", "error", "the event loop stood still", "Await it, or hand it to asyncio.to_thread; code-reviewer's detector shows why it blocks."),
    Rule("LAG002", "error", "a request failed", "A measurement of failing requests says nothing: mend the request or the application."),
)  # fmt: skip
TOOL = Tool("measure_event_loop", "1.0.0", __doc__ or "", RULES)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("app", metavar="MODULE:NAME", help="the application, or with --factory what makes it")
    parser.add_argument("--factory", action="store_true", help="NAME is called to get the application")
    parser.add_argument("--app-dir", default=".", metavar="DIR", help="where MODULE is (default: here)")
    parser.add_argument(
        "--request",
        action="append",
        default=[],
        metavar="'METHOD PATH [JSON]'",
        help="a request to send (default: 'GET /'), may be given again",
    )
    parser.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'")
    parser.add_argument("--threshold-ms", type=float, default=50, help="how late the loop may be (default: 50)")
    parser.add_argument("--repeat", type=int, default=20, help="how often each request is sent (default: 20)")
    parser.add_argument("--concurrency", type=int, default=4, help="how many at once (default: 4)")


def check(args: argparse.Namespace, report: Report) -> None:
    module_name, _, name = args.app.partition(":")
    if not module_name or not name:
        raise Unusable("the application is given as MODULE:NAME")
    folder = str(Path(args.app_dir).resolve())
    sys.path.insert(0, folder)
    try:
        found = getattr(importlib.import_module(module_name), name)
        app = found() if args.factory else found
    except Exception as error:  # the application's own code may raise anything
        raise NotChecked(f"{args.app} cannot be imported: {error.__class__.__name__}: {error}") from None
    finally:
        sys.path.remove(folder)
    report.targets.append(args.app)
    requests = [parsed(r) for r in args.request or ["GET /"]]
    headers = [(n.strip().lower().encode(), v.strip().encode()) for n, _, v in (h.partition(":") for h in args.header)]
    watch = Watch(args.threshold_ms / 1000, folder)
    statuses = asyncio.run(drive(app, requests, headers, args.repeat, args.concurrency, watch))
    report.scanned = sum(statuses.values())
    for (path, status), count in sorted(statuses.items()):
        if status >= 500 or status == 0:
            report.add("LAG002", args.app, 0, f"{path}: {count} of its requests gave {status or 'no answer'}.")
    for place, (count, worst) in sorted(watch.places.items(), key=lambda p: -p[1][1]):
        file, line, function, text = place
        report.add(
            "LAG001",
            file,
            line,
            f"the loop stood still for {worst * 1000:.0f} ms in {function}, {count} time(s).",
            evidence=text or None,
        )
    report.data = {"worst_ms": round(watch.worst * 1000, 1), "threshold_ms": args.threshold_ms, "requests": report.scanned,
                   "statuses": [{"path": p, "status": s, "count": c} for (p, s), c in sorted(statuses.items())]}  # fmt: skip


def parsed(text: str) -> tuple[str, str, bytes]:
    method, _, rest = text.strip().partition(" ")
    path, _, body = rest.strip().partition(" ")
    if not path.startswith("/"):
        raise Unusable(f"--request {text!r}: expected 'METHOD /path [JSON]'")
    try:
        return method.upper(), path, json.dumps(json.loads(body)).encode() if body.strip() else b""
    except ValueError as error:
        raise Unusable(f"--request {text!r}: {error}") from None


class Watch:
    """A thread that sees when the loop has not ticked for too long, and looks what its thread is doing at that moment."""

    def __init__(self, threshold: float, folder: str) -> None:
        self.threshold, self.folder = threshold, folder
        self.places: dict[tuple[str, int, str, str], tuple[int, float]] = {}
        self.worst = 0.0
        self._ticked, self._stop = time.monotonic(), threading.Event()
        self._loop_thread = threading.get_ident()

    def start(self) -> None:
        self._loop_thread, self._ticked = threading.get_ident(), time.monotonic()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    async def tick(self) -> None:
        while True:
            now = time.monotonic()
            self.worst = max(self.worst, now - self._ticked - 0.002)
            self._ticked = now
            await asyncio.sleep(0.002)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        place, since = None, 0.0
        while not self._stop.wait(self.threshold / 5):
            late = time.monotonic() - self._ticked
            if late > self.threshold:
                if since != self._ticked:
                    frame = sys._current_frames().get(self._loop_thread)
                    place, since = self._blame(traceback.extract_stack(frame)) if frame else None, self._ticked
                    if place:
                        count, worst = self.places.get(place, (0, 0.0))
                        self.places[place] = (count + 1, max(worst, late))
                elif place:
                    count, worst = self.places[place]
                    self.places[place] = (count, max(worst, late))

    def _blame(self, stack: traceback.StackSummary) -> tuple[str, int, str, str] | None:
        """The innermost line of the application itself, else the innermost of all; None for the loop's own waiting."""
        own = [f for f in stack if f.filename.startswith(self.folder) and "site-packages" not in f.filename]
        if stack[-1].name in ("select", "poll") and not own:
            return None
        frame = own[-1] if own else stack[-1]
        return frame.filename, frame.lineno or 0, frame.name, frame.line or ""


async def drive(
    app: Any,
    requests: list[tuple[str, str, bytes]],
    headers: list[tuple[bytes, bytes]],
    repeat: int,
    concurrency: int,
    watch: Watch,
) -> dict[tuple[str, int], int]:
    started, finished, going = asyncio.Event(), asyncio.Event(), asyncio.Queue(maxsize=2)

    async def receive() -> dict[str, str]:
        return await going.get()

    async def send(message: dict[str, Any]) -> None:
        if message["type"].endswith("startup.failed"):
            failed.append(message.get("message", ""))
        (started if "startup" in message["type"] else finished).set()

    failed: list[str] = []
    await going.put({"type": "lifespan.startup"})
    life = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send))
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait({life, waiting}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    if failed or not (started.is_set() or life.done()):
        raise NotChecked(f"the application did not start: {failed[0][-500:] if failed else 'no answer in 60 s'}")
    watch.start()
    ticker = asyncio.create_task(watch.tick())
    statuses: dict[tuple[str, int], int] = {}
    gate = asyncio.Semaphore(concurrency)

    async def one(method: str, path: str, body: bytes) -> None:
        async with gate:
            status = await request(app, method, path, body, headers)
            statuses[path, status] = statuses.get((path, status), 0) + 1

    await asyncio.gather(*(one(*r) for _ in range(repeat) for r in requests))
    ticker.cancel()
    watch.stop()
    if not life.done():
        await going.put({"type": "lifespan.shutdown"})
        await asyncio.wait({life}, timeout=30)
    return statuses


async def request(app: Any, method: str, path: str, body: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    bare, _, query = path.partition("?")
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http", "path": bare, "raw_path": bare.encode(),
             "query_string": query.encode(), "root_path": "", "headers": [(b"host", b"test"), (b"content-type", b"application/json"), *headers],
             "client": ("127.0.0.1", 1), "server": ("test", 80), "state": {}}  # fmt: skip
    status, sent, ended = 0, False, asyncio.Event()

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            await ended.wait()
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif not message.get("more_body"):
            ended.set()

    try:
        await asyncio.wait_for(app(scope, receive, send), 60)
    except Exception:  # what the application raises is a failed request
        return 500
    return status


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
