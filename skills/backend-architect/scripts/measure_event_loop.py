# /// script
# requires-python = ">=3.11"
# dependencies = ["blockbuster>=1.5,<2"]
# ///
"""Imports an ASGI app, drives it in this process, and tells what held its event loop: where, how long, under which request."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import statistics
import sys
import sysconfig
import threading
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _report import NotChecked, Report, Rule, Tool, Unusable, main, need

RULES = (
    Rule("LAG001", "error", "the event loop stood still for longer than the threshold", "Await it, hand it to asyncio.to_thread, or cut it into pieces."),
    Rule("LAG002", "error", "a request failed, so what it would have done was not measured", "Give the app what it needs (settings, fakes), and each request its headers and body."),
    Rule("LAG003", "error", "a blocking call was made on the event loop", "Use the async client; or asyncio.to_thread for what cannot wait otherwise."),
    Rule("LAG004", "error", "start-up or shutdown failed or hung", "Run the lifespan by itself and mend it; close what was opened."),
)  # fmt: skip
TOOL = Tool("measure_event_loop", "1.0.0", __doc__ or "", RULES)
Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]
LIBRARY = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), "<frozen"})
IDLE = ("select", "poll", "epoll", "kqueue", "_run_once", "run_forever")


@dataclass
class Wanted:
    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Stall:
    seconds: float
    frames: list[traceback.FrameSummary]


@dataclass
class Watch:
    """A beat on the loop and a thread that looks on: when the beat is late, it notes what the loop's thread is doing."""

    threshold: float
    lags: list[float] = field(default_factory=list)
    stalls: list[Stall] = field(default_factory=list)
    machine: float = 0.0
    _beat: float = 0.0
    _running: bool = True

    @contextlib.asynccontextmanager
    async def on(self) -> Any:
        loop, ident = asyncio.get_running_loop(), threading.get_ident()
        self._beat = time.perf_counter()

        def tick(due: float) -> None:
            now = time.perf_counter()
            self.lags.append(max(0.0, now - due))
            self._beat = now
            if self._running:
                loop.call_later(0.005, tick, now + 0.005)

        tick(self._beat)
        thread = threading.Thread(target=self._look, args=(ident,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._running = False
            thread.join(1)

    def _look(self, ident: int) -> None:
        noted: Stall | None = None
        beat = 0.0
        while self._running:
            time.sleep(min(0.005, self.threshold / 4))
            late = time.perf_counter() - self._beat - 0.005
            if self._beat != beat:
                beat, noted = self._beat, None
            if late < self.threshold:
                continue
            if noted is not None:
                noted.seconds = late
                continue
            frame = sys._current_frames().get(ident)
            if frame is None:
                continue
            if frame.f_code.co_name in IDLE:
                # The loop waits and its beat is late all the same: the machine was busy, not the app.
                self.machine = max(self.machine, late)
                continue
            noted = Stall(late, list(traceback.extract_stack(frame)))
            self.stalls.append(noted)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("app", metavar="MODULE:APP", help="the ASGI app, as uvicorn names it")
    parser.add_argument("--app-dir", default=".", metavar="DIR", help="where the module lies (default: here)")
    parser.add_argument("--factory", action="store_true", help="APP is a function that makes the app")
    parser.add_argument("--request", action="append", default=[], metavar="'METHOD PATH [JSON]'", help="a request to make (may be given again; default: GET /)")  # fmt: skip
    parser.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'", help="a header of each request")
    parser.add_argument("--repeat", type=int, default=50, help="how often each request is made (default: 50)")
    parser.add_argument("--concurrency", type=int, default=8, help="how many at once (default: 8)")
    parser.add_argument("--threshold-ms", type=float, default=50.0, help="how long the loop may stand still (default: 50)")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for the whole (default: 60)")
    parser.add_argument(
        "--no-blockbuster", action="store_true", help="only measure; do not look for blocking calls too short to be seen"
    )


def check(args: argparse.Namespace, report: Report) -> None:
    if args.threshold_ms <= 0 or args.repeat < 1 or args.concurrency < 1:
        raise Unusable("the threshold, the repeats and the concurrency are above 0")
    wanted = [parsed(text, args.header) for text in args.request or ["GET /"]]
    buster: Any = None if args.no_blockbuster else need("blockbuster", "blockbuster>=1.5,<2")
    report.targets.append(args.app)
    root = Path(args.app_dir).resolve()
    # What the app prints must not stand among the results.
    sys.path.insert(0, str(root))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            app = imported(args.app, root, args.factory)
            asyncio.run(asyncio.wait_for(measured(args, report, app, wanted, root, buster), args.timeout))
    except TimeoutError:
        raise NotChecked(f"the app did not finish within {args.timeout:g} s") from None
    finally:
        sys.path.remove(str(root))


def parsed(text: str, headers: list[str]) -> Wanted:
    method, _, rest = text.strip().partition(" ")
    path, _, body = rest.strip().partition(" ")
    if not path.startswith("/"):
        raise Unusable(f"--request {text!r} is not METHOD PATH [JSON]")
    if body:
        try:
            json.loads(body)
        except ValueError as error:
            raise Unusable(f"--request {text!r}: the body is no JSON: {error}") from None
    given = [(b"host", b"localhost")]
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon:
            raise Unusable(f"--header {header!r} is not NAME: VALUE")
        given.append((name.strip().lower().encode("latin-1", "replace"), value.strip().encode("latin-1", "replace")))
    if body:
        given += [(b"content-type", b"application/json"), (b"content-length", str(len(body.encode())).encode())]
    return Wanted(method.upper(), path, given, body.encode())


def imported(name: str, root: Path, factory: bool) -> App:
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise Unusable(f"{name!r} is not MODULE:APP")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        return found() if factory else found
    except (Exception, SystemExit) as error:  # the app's own code may raise anything
        raise NotChecked(f"{name} cannot be imported: {type(error).__name__}: {error}") from None


async def measured(args: argparse.Namespace, report: Report, app: App, wanted: list[Wanted], root: Path, buster: Any) -> None:
    phases = Lifespan(app, report, args.timeout / 3)
    await phases.step("startup")
    try:
        if not phases.failed:
            report.scanned = len(wanted)
            statuses: dict[str, int] = {}
            for request in wanted:
                statuses[str(request)], error = await answered(app, request)
                note(report, root, request, error)
            if buster is not None and not report.findings:
                for request in wanted:
                    await unblocked(app, request, statuses[str(request)], report, root, buster)
            if not any(f.rule_id == "LAG002" for f in report.findings):
                report.scanned = len(wanted) * args.repeat
                await loaded(args, report, app, wanted, root)
    finally:
        await phases.step("shutdown")
        await phases.end()


async def unblocked(app: App, request: Wanted, status: int, report: Report, root: Path, buster: Any) -> None:
    """Make a request while each blocking call on the loop raises, wherever it is made."""
    with buster.blockbuster_ctx():
        got, error = await answered(app, request)
    note(report, root, request, error, buster.BlockingError)
    if status < 500 <= got and not any(f.rule_id == "LAG003" for f in report.findings):
        report.add("LAG003", ".", 0, f"{request} answers {got} where blocking calls raise: some handler hides which one it was.")


async def loaded(args: argparse.Namespace, report: Report, app: App, wanted: list[Wanted], root: Path) -> None:
    """All requests, several at once, with the loop watched."""
    watch = Watch(args.threshold_ms / 1000)
    times: dict[str, list[float]] = {str(request): [] for request in wanted}
    statuses: dict[str, Counter[int]] = {str(request): Counter() for request in wanted}
    gate = asyncio.Semaphore(args.concurrency)

    async def once(request: Wanted) -> None:
        async with gate:
            start = time.perf_counter()
            status, error = await answered(app, request)
            note(report, root, request, error)
            statuses[str(request)][status] += 1
            times[str(request)].append(time.perf_counter() - start)

    async with watch.on():
        await asyncio.gather(*(once(request) for _ in range(args.repeat) for request in wanted))
        await asyncio.sleep(0.02)
    for label, counts in statuses.items():
        failed = {status: n for status, n in counts.items() if status >= 500 or status in (404, 405)}
        if failed:
            report.add("LAG002", ".", 0, f"{label} answers {', '.join(f'{s} ({n} times)' for s, n in failed.items())}.")
    worst: dict[tuple[str, int], tuple[float, int, str]] = {}
    for stall in watch.stalls:
        path, line, chain = owner(stall.frames, root)
        seconds, count, _ = worst.get((path, line), (0.0, 0, ""))
        worst[path, line] = (max(seconds, stall.seconds), count + 1, chain)
    for (path, line), (seconds, count, chain) in worst.items():
        report.add(
            "LAG001",
            path,
            line,
            f"the loop stood still {count} times, for up to {seconds * 1000:.0f} ms.",
            evidence=chain or None,
        )
    lags = sorted(watch.lags) or [0.0]
    report.data.update(
        threshold_ms=args.threshold_ms,
        lag_ms={
            "p50": ms(statistics.median(lags)),
            "p99": ms(lags[min(len(lags) - 1, int(len(lags) * 0.99))]),
            "max": ms(lags[-1]),
        },
        machine_late_ms=ms(watch.machine),
        requests={
            label: {"count": len(t), "p50_ms": ms(statistics.median(t)), "max_ms": ms(max(t)), "statuses": dict(statuses[label])}
            for label, t in times.items()
            if t
        },
    )


def ms(seconds: float) -> float:
    return round(seconds * 1000, 2)


async def answered(app: App, request: Wanted) -> tuple[int, Exception | None]:
    """Make one request: its status, and what the app raised instead of answering."""
    status = 0
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.sleep(3600)
        sent = True
        return {"type": "http.request", "body": request.body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    path, _, query = request.path.partition("?")
    scope: Message = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": request.method,
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": request.headers, "client": ("127.0.0.1", 50000), "server": ("127.0.0.1", 80), "state": {},
    }  # fmt: skip
    try:
        await app(scope, receive, send)
    except Exception as error:
        return 500, error
    return status, None


def note(
    report: Report, root: Path, request: Wanted, error: Exception | None, refused: type[BaseException] | None = None
) -> None:
    """Report what an app raised, once a place: a blocking call, where `refused` is somewhere behind it."""
    if error is None:
        return
    found: BaseException | None = error
    while refused is not None and found is not None and not isinstance(found, refused):
        found = found.__cause__ or found.__context__
    rule = "LAG003" if refused is not None and found is not None else "LAG002"
    where, line, chain = owner(list(traceback.extract_tb((found or error).__traceback__)), root)
    if not any(f.rule_id == rule and f.line == line for f in report.findings):
        told = f"{type(error).__name__}: {error}" if rule == "LAG002" else str(found) or "a blocking call"
        report.add(rule, where, line, f"{request}: {told}"[:300], evidence=chain or None)


class Lifespan:
    """The app's own start-up and shutdown; an app that knows no lifespan is taken as it is."""

    def __init__(self, app: App, report: Report, limit: float) -> None:
        self._report, self._limit, self.failed = report, limit, False
        self._inbox: asyncio.Queue[Message] = asyncio.Queue(maxsize=2)
        self._said = {"startup": asyncio.Event(), "shutdown": asyncio.Event()}
        self._task = asyncio.create_task(self._run(app))

    async def step(self, phase: str) -> None:
        await self._inbox.put({"type": f"lifespan.{phase}"})
        try:
            await asyncio.wait_for(self._said[phase].wait(), self._limit)
        except TimeoutError:
            self._fail(f"{phase} takes longer than {self._limit:g} s.")

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, app: App) -> None:
        try:
            await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, self._inbox.get, self._send)
        except Exception as error:
            if self._said["startup"].is_set() and not self.failed:
                self._fail(f"the lifespan ended by {type(error).__name__}: {error}")
        finally:
            for event in self._said.values():
                event.set()

    async def _send(self, message: Message) -> None:
        _, phase, result = message["type"].split(".")
        if result == "failed":
            self._fail(f"{phase} failed: {str(message.get('message', ''))[-300:]}")
        self._said[phase].set()

    def _fail(self, why: str) -> None:
        self.failed = True
        self._report.scanned = max(1, self._report.scanned)
        self._report.add("LAG004", ".", 0, why)


def owner(frames: list[traceback.FrameSummary], root: Path) -> tuple[str, int, str]:
    """The innermost frame of the project, and the way from it to what really waits."""
    own = [n for n, f in enumerate(frames) if f.filename.startswith(str(root)) and not f.filename.startswith(LIBRARY)]
    own = [n for n in own if "site-packages" not in frames[n].filename]
    at = own[-1] if own else next((n for n in range(len(frames) - 1, -1, -1) if __file__ != frames[n].filename), 0)
    if not frames:
        return ".", 0, ""
    chain = " > ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames[max(0, at - 2) :][:8])
    return frames[at].filename, frames[at].lineno or 0, chain


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
