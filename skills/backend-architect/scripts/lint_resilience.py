# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Finds what turns another system's bad minute into an outage of this one: calls without deadline, endless retries, shared executors, N+1."""

from __future__ import annotations

import argparse
import ast
import sys

from _pysource import FUNCTIONS, Module, Project, load, own_nodes
from _report import Report, Rule, Tool, main
from _routes import Routes, keyword

RULES = (
    Rule("RES001", "error", "an outbound call that may wait for ever", "Give it a timeout below the caller's own deadline."),
    Rule("RES002", "warning", "requests depend on another system and the project has no circuit breaker", "Put a breaker before each system: assets/patterns/circuit_breaker.py."),
    Rule("RES003", "error", "a retry without end", "Stop after a few attempts and within the deadline, with jitter: assets/patterns/retry.py."),
    Rule("RES004", "error", "a breaker or limiter that is made for each request remembers nothing", "Make it once, beside the client that it guards."),
    Rule("RES005", "warning", "a cache entry without expiry", "redis.set(key, value, ex=seconds), with jitter."),
    Rule("RES006", "error", "a DataLoader that requests share, or a field that queries once an item", "One DataLoader a request, and `await loader.load(key)` in the field: assets/patterns/graphql_dataloader.py."),
    Rule("RES007", "warning", "a queue or a fan-out without bound", "Queue(maxsize=N); a semaphore around each item: assets/patterns/bulkhead.py."),
    Rule("RES008", "warning", "scoring shares the default executor with files and DNS", "Give scoring a ThreadPoolExecutor of its own, with max_workers."),
    Rule("RES009", "warning", "a retry of what may not be repeated", "Retry only idempotent calls, or send an idempotency key."),
)  # fmt: skip
TOOL = Tool("lint_resilience", "1.0.0", __doc__ or "", RULES)
VERBS = ("get", "post", "put", "patch", "delete", "head", "options", "request")
NO_DEADLINE = (
    {f"requests.{v}" for v in VERBS}
    | {f"requests.Session().{v}" for v in VERBS}
    | {"urllib.request.urlopen", "socket.create_connection"}
)
NONE_DEADLINE = {"httpx.AsyncClient", "httpx.Client", "httpx.get", "httpx.post", "aiohttp.ClientTimeout"}
OUTBOUND = ("asyncpg.", "redis.", "httpx.", "aiohttp.", "psycopg", "sqlalchemy.ext.asyncio.")
BREAKERS = ("purgatory", "pybreaker", "aiobreaker", "circuitbreaker")
MODELS = ("predict", "predict_proba", "score", "predict_contributions")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", help="Python files or folders")
    parser.add_argument("--source-dir", action="append", default=[], metavar="DIR", help="a folder to scan (may be given again)")
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="GLOB", help="files or folders to leave out, e.g. 'tests'"
    )


def check(args: argparse.Namespace, report: Report) -> None:
    report.engines.append("python ast " + ".".join(map(str, sys.version_info[:2])))
    project = load(report, [*args.paths, *args.source_dir], args.exclude)
    routes = Routes(project)
    handlers = {id(r.function) for r in routes.routes}
    for module in project.modules:
        for call in module.calls():
            one_call(report, module, call, handlers)
        for node in ast.walk(module.tree):
            if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
                retries(report, module, node)
            if isinstance(node, ast.ClassDef) and any(
                (module.qualify(d.func if isinstance(d, ast.Call) else d) or "") == "strawberry.type" for d in node.decorator_list
            ):
                fields(report, module, node)
            if isinstance(node, ast.While):
                endless(report, module, node)
    unguarded(report, project, routes)


def one_call(report: Report, module: Module, call: ast.Call, handlers: set[int]) -> None:
    name = module.qualify(call.func) or ""
    place = {"path": module.path, "line": call.lineno, "column": call.col_offset + 1}
    timeout = keyword(call, "timeout")
    spread = any(k.arg is None for k in call.keywords)
    if (
        name in NO_DEADLINE
        and timeout is None
        and not spread
        and not (name.endswith(("urlopen", "create_connection")) and len(call.args) > 1)
    ):
        report.add("RES001", **place, message=f"{name} has no timeout, and none by default.")
    elif (
        name in NONE_DEADLINE
        and isinstance(timeout or keyword(call, "total"), ast.Constant)
        and (timeout or keyword(call, "total")).value is None
    ):  # type: ignore[union-attr]
        report.add("RES001", **place, message=f"{name} with its timeout switched off.")
    last = name.rpartition(".")[2]
    if last.endswith(("Breaker", "CircuitBreaker", "RateLimiter")) and id(module.function_of(call)) in handlers:
        report.add("RES004", **place, message=f"{last} is made in a route handler.")
    owner = name.rpartition(".")[0]
    if last == "set" and owner in (
        "redis.asyncio.Redis()",
        "redis.Redis()",
        "redis.asyncio.from_url()",
        "redis.from_url()",
        "redis.asyncio.Redis.from_url()",
    ):
        if not spread and len(call.args) < 3 and not any(keyword(call, w) for w in ("ex", "px", "exat", "pxat", "keepttl")):
            report.add("RES005", **place, message=f"{ast.unparse(call.func)} keeps the entry for ever.")
    if name in ("strawberry.dataloader.DataLoader", "aiodataloader.DataLoader") and module.function_of(call) is None:
        report.add("RES006", **place, message="a DataLoader at module level caches across requests.")
    if name == "asyncio.Queue" and not call.args and keyword(call, "maxsize") is None:
        report.add("RES007", **place, message="asyncio.Queue() grows without end.")
    if (
        name == "asyncio.gather"
        and id(module.function_of(call)) in handlers
        and any(isinstance(a, ast.Starred) and unbounded(a.value) for a in call.args)
    ):
        report.add("RES007", **place, message="asyncio.gather over as many items as the request brings.")
    if isinstance(call.func, ast.Attribute) and call.func.attr == "run_in_executor" and len(call.args) > 1:
        first, work = call.args[0], call.args[1]
        if isinstance(first, ast.Constant) and first.value is None and isinstance(work, ast.Attribute) and work.attr in MODELS:
            report.add("RES008", **place, message=f"{ast.unparse(work)} runs in the default executor.")


def unbounded(node: ast.expr) -> bool:
    """A comprehension over something that is no literal, whose item is a bare call and not guarded by a semaphore's helper."""
    if not isinstance(node, (ast.ListComp, ast.GeneratorExp)):
        return False
    source = node.generators[0].iter
    literal = isinstance(source, (ast.List, ast.Tuple, ast.Constant)) or (
        isinstance(source, ast.Call) and ast.unparse(source.func) == "range"
    )
    return not literal and not any(w in ast.unparse(node.elt).lower() for w in ("bounded", "limited", "semaphore", "guard"))


def retries(report: Report, module: Module, node: ast.AST) -> None:
    for decorator in getattr(node, "decorator_list", []):
        call = decorator if isinstance(decorator, ast.Call) else None
        name = module.qualify(call.func if call else decorator) or ""
        if name in ("tenacity.retry", "tenacity.retry()"):
            if call is None or keyword(call, "stop") is None:
                report.add("RES003", module.path, decorator.lineno, "tenacity.retry without stop= goes on for ever.")
            elif keyword(call, "wait") is None:
                report.add(
                    "RES003", module.path, decorator.lineno, "tenacity.retry without wait= retries at once.", severity="warning"
                )
        elif (
            name in ("backoff.on_exception", "backoff.on_predicate")
            and call is not None
            and keyword(call, "max_tries") is None
            and keyword(call, "max_time") is None
        ):
            report.add("RES003", module.path, decorator.lineno, f"{name} without max_tries or max_time goes on for ever.")
        else:
            continue
        for inner in ast.walk(node):
            if (
                isinstance(inner, ast.Call)
                and isinstance(inner.func, ast.Attribute)
                and inner.func.attr in ("post", "patch")
                and (module.qualify(inner.func) or "").startswith(("httpx.", "requests.", "aiohttp."))
            ):
                if "idempotency" not in ast.unparse(inner).lower():
                    report.add("RES009", module.path, inner.lineno, f"{inner.func.attr.upper()} is repeated on failure.")


def endless(report: Report, module: Module, loop: ast.While) -> None:
    """`while True: try: call(); return/break  except Exception: sleep` never gives up."""
    if (
        not (isinstance(loop.test, ast.Constant) and loop.test.value)
        or len(loop.body) != 1
        or not isinstance(loop.body[0], ast.Try)
    ):
        return
    attempt = loop.body[0]
    leaves = any(isinstance(n, (ast.Return, ast.Break)) for s in [*attempt.body, *attempt.orelse] for n in ast.walk(s))
    gives_up = any(isinstance(n, (ast.Raise, ast.Break, ast.Return)) for h in attempt.handlers for n in ast.walk(h))
    cancelled = any("Cancelled" in ast.unparse(h.type) for h in attempt.handlers if h.type is not None)
    if leaves and not gives_up and not cancelled:
        report.add("RES003", module.path, loop.lineno, "this loop tries again until it succeeds.", severity="warning")


def fields(report: Report, module: Module, node: ast.ClassDef) -> None:
    root = node.name in ("Query", "Mutation", "Subscription")
    for item in node.body:
        if (
            isinstance(item, ast.AsyncFunctionDef)
            and not root
            and any(
                (module.qualify(d.func if isinstance(d, ast.Call) else d) or "") == "strawberry.field"
                for d in item.decorator_list
            )
        ):
            for inner in own_nodes(item):
                if (
                    isinstance(inner, ast.Await)
                    and isinstance(inner.value, ast.Call)
                    and isinstance(inner.value.func, ast.Attribute)
                ):
                    if inner.value.func.attr in ("fetch", "fetchrow", "fetchval", "execute", "scalar", "scalars"):
                        report.add(
                            "RES006", module.path, inner.lineno, f"{node.name}.{item.name} queries once for each {node.name}."
                        )


def unguarded(report: Report, project: Project, routes: Routes) -> None:
    for module in project.modules:
        if any(w in module.text for w in BREAKERS) or any(
            isinstance(n, ast.ClassDef) and "breaker" in n.name.lower() for n in ast.walk(module.tree)
        ):
            return
    for route in routes.routes:
        for node in own_nodes(route.function):
            if (
                isinstance(node, ast.Call)
                and (name := route.module.qualify(node.func))
                and name.startswith(OUTBOUND)
                and "()" in name
            ):
                report.add(
                    "RES002",
                    route.module.path,
                    node.lineno,
                    f"`{route.function.name}` calls {name}; nothing in this project stops calling a system that fails.",
                )
                return


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
