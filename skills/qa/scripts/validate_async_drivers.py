# /// script
# requires-python = ">=3.11"
# dependencies = ["packaging>=24"]
# ///
"""Async drivers: whether an async service reaches its database, cache and HTTP peers by async clients, made, bounded and closed rightly."""

from __future__ import annotations

import argparse
import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from _pysource import FUNCTIONS, Function, Module, load, own_nodes
from _report import PRUNED, Report, Rule, Tool, files, main, need

RULES = (
    Rule("DRV001", "error", "a synchronous driver is imported by a module with async code", "Use its async twin: asyncpg or psycopg.AsyncConnection, redis.asyncio, aiokafka, aioboto3, httpx.AsyncClient."),
    Rule("DRV002", "error", "a synchronous SQLAlchemy engine, or a URL without an async driver", "create_async_engine('postgresql+asyncpg://...')."),
    Rule("DRV003", "error", "an async function works with a synchronous session", "Take an AsyncSession and await its calls; or make the route a plain def."),
    Rule("DRV004", "warning", "a synchronous or dead driver among the requirements", "Remove it, so that nobody can import it by mistake."),
    Rule("DRV005", "warning", "a pool without a bound on connections or on a command's time", "create_pool(..., max_size=N, command_timeout=S), with N x processes below max_connections."),
    Rule("DRV006", "error", "a pool or client is made for each request, or at import before there is a loop", "Make it once in the lifespan and keep it in app.state."),
    Rule("DRV007", "warning", "asyncpg through PgBouncer with its statement cache", "statement_cache_size=0, or PgBouncer 1.21+ with max_prepared_statements."),
    Rule("DRV008", "error", "an async client made in the lifespan is not closed after its yield", "Use `async with`, or await client.close() after the yield."),
    Rule("DRV009", "warning", "an executor whose size nobody chose", "ThreadPoolExecutor(max_workers=N) of its own for scoring, apart from the one for I/O."),
    Rule("DRV010", "error", "a coroutine of an async driver is never awaited", "await it."),
)  # fmt: skip
TOOL = Tool("validate_async_drivers", "1.0.0", __doc__ or "", RULES)
SYNC = frozenset({"psycopg2", "pymysql", "MySQLdb", "sqlite3", "cx_Oracle", "pyodbc", "kafka", "boto3", "requests"})
# Of these packages only some names block: the rest are types, or their own async half.
QUIET = ("exceptions", "errors", "extensions", "types", "conditions")
SYNC_NAMES = frozenset(
    {
        "redis.Redis",
        "redis.StrictRedis",
        "redis.from_url",
        "psycopg.connect",
        "psycopg.Connection",
        "psycopg_pool.ConnectionPool",
        "pymongo.MongoClient",
    }
)
BANNED = {
    "psycopg2": "asyncpg",
    "psycopg2-binary": "asyncpg",
    "pymysql": "asyncmy",
    "mysqlclient": "asyncmy",
    "aioredis": "redis>=4.2 (redis.asyncio)",
    "cx-oracle": "oracledb",
}
OFFLOAD = frozenset(
    {
        "asyncio.to_thread",
        "anyio.to_thread.run_sync",
        "starlette.concurrency.run_in_threadpool",
        "fastapi.concurrency.run_in_threadpool",
    }
)
POOLS = {"asyncpg.create_pool": ("max_size", "command_timeout"), "psycopg_pool.AsyncConnectionPool": ("max_size", "timeout")}
CLIENTS = frozenset({"asyncpg.create_pool", "asyncpg.connect", "psycopg_pool.AsyncConnectionPool", "redis.asyncio.Redis", "redis.asyncio.from_url",
                     "redis.asyncio.Redis.from_url", "httpx.AsyncClient", "aiohttp.ClientSession", "aiokafka.AIOKafkaProducer"})  # fmt: skip
AT_IMPORT = frozenset({"asyncpg.create_pool", "asyncpg.connect", "aiohttp.ClientSession", "aiokafka.AIOKafkaProducer"})
AWAITABLE = {"asyncpg.create_pool()": {"fetch", "fetchrow", "fetchval", "execute", "executemany", "close"},
             "asyncpg.connect()": {"fetch", "fetchrow", "fetchval", "execute", "executemany", "close"},
             "redis.asyncio.Redis()": {"get", "set", "setex", "delete", "expire", "incr", "publish", "aclose", "ping", "mget"},
             "redis.asyncio.from_url()": {"get", "set", "setex", "delete", "expire", "incr", "publish", "aclose", "ping", "mget"},
             "httpx.AsyncClient()": {"get", "post", "put", "patch", "delete", "request", "aclose"},
             "sqlalchemy.ext.asyncio.AsyncSession()": {"execute", "commit", "rollback", "flush", "refresh", "scalar", "scalars", "delete", "close"}}  # fmt: skip
SESSIONS = frozenset({"sqlalchemy.orm.Session()", "sqlmodel.Session()", "sqlalchemy.orm.session.Session()"})
ROUTES = frozenset({"get", "post", "put", "patch", "delete", "websocket", "api_route"})


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", help="Python files or folders")
    parser.add_argument("--source-dir", action="append", default=[], metavar="DIR", help="a folder to scan (may be given again)")
    parser.add_argument(
        "--strict", action="store_true", help="a synchronous driver anywhere in a project with async code is an error"
    )
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="files or folders to leave out")


def check(args: argparse.Namespace, report: Report) -> None:
    packaging: Any = need("packaging.requirements", "packaging>=24")
    targets = [*args.paths, *args.source_dir]
    project = load(report, targets, args.exclude)
    asynchronous = any(isinstance(n, ast.AsyncFunctionDef) for m in project.modules for n in m.nodes)
    for module in project.modules:
        if asynchronous:
            imports(report, module, args.strict)
        calls(report, module)
    if asynchronous:
        requirements(report, packaging, targets, args.exclude)


def has_async(module: Module) -> bool:
    return any(isinstance(n, ast.AsyncFunctionDef) for n in module.nodes)


def imports(report: Report, module: Module, strict: bool) -> None:
    offloads = any(
        module.qualify(c.func) in OFFLOAD or (isinstance(c.func, ast.Attribute) and c.func.attr == "run_in_executor")
        for c in module.calls()
    )
    asked = {n.id for f in module.nodes if isinstance(f, ast.AsyncFunctionDef) for n in own_nodes(f) if isinstance(n, ast.Name)}
    for node in module.nodes:
        if node in module.type_checking:
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names if a.name.partition(".")[0] in SYNC]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.module.partition(".")[0] in SYNC and not node.module.endswith(QUIET):
                names = [node.module]
            names += [f"{node.module}.{a.name}" for a in node.names if f"{node.module}.{a.name}" in SYNC_NAMES]
        # A module may hold a sync and an async half side by side; it is wrong where async code takes hold of the sync one.
        imported = node.names if isinstance(node, ast.Import | ast.ImportFrom) else []
        for name in names:
            short = name.rpartition(".")[2] if name in SYNC_NAMES else ""
            bound = {(a.asname or a.name).partition(".")[0] for a in imported if not short or a.name == short}
            severity = "error" if strict or (bound & asked and not offloads) else "warning"
            report.add("DRV001", module.path, node.lineno, f"{name} is synchronous.", severity=severity)  # type: ignore[attr-defined]
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and module.qualify(node) in SYNC_NAMES:
            if not isinstance(module.parents.get(node), (ast.arg, ast.AnnAssign, ast.Subscript, ast.BinOp)):
                inside = isinstance(module.function_of(node), ast.AsyncFunctionDef)
                severity = "error" if strict or (inside and not offloads) else "warning"
                report.add("DRV001", module.path, node.lineno, f"{module.qualify(node)} is synchronous.", severity=severity)


def calls(report: Report, module: Module) -> None:
    asynchronous = has_async(module)
    for call in module.calls():
        name = module.qualify(call.func) or ""
        words = {k.arg: k.value for k in call.keywords}
        function = module.function_of(call)
        where = {"path": module.path, "line": call.lineno}
        if name in ("sqlalchemy.create_engine", "sqlmodel.create_engine") and asynchronous:
            report.add("DRV002", **where, message=f"{name} in a module with async code.")
        if name == "sqlalchemy.ext.asyncio.create_async_engine" and (url := first_text(call)) and sync_url(url):
            report.add("DRV002", **where, message=f"the URL's scheme {urlsplit(url).scheme!r} names no async driver.")
        if name in POOLS and not any(k.arg is None for k in call.keywords):
            lacking = [w for w in POOLS[name] if w not in words]
            if lacking:
                report.add("DRV005", **where, message=f"{name} without {' and '.join(lacking)}.")
        if name in CLIENTS and isinstance(function, FUNCTIONS) and is_route(function) and not pooled(module, call):
            report.add("DRV006", **where, message=f"{name} is called for each request of {function.name}.")
        elif name in AT_IMPORT and function is None and not isinstance(module.class_of(call), ast.ClassDef):
            report.add("DRV006", **where, message=f"{name} is called at import.")
        if (
            name.startswith("asyncpg.")
            and name in ("asyncpg.connect", "asyncpg.create_pool")
            and "statement_cache_size" not in words
        ):
            text = first_text(call) or constant(words.get("dsn"))
            if (isinstance(text, str) and (":6432" in text or "pgbouncer" in text.lower())) or constant(
                words.get("port")
            ) == 6432:
                report.add("DRV007", **where)
        if name == "concurrent.futures.ThreadPoolExecutor" and not call.args and "max_workers" not in words and asynchronous:
            report.add("DRV009", **where, message="ThreadPoolExecutor() takes cpu_count + 4 threads, at most 32.")
        owner, _, method = name.rpartition(".")
        if method in AWAITABLE.get(owner, ()) and dropped(module, call):
            report.add("DRV010", **where, message=f"{name} is a coroutine that nobody awaits.")
    for function in module.nodes:
        if isinstance(function, ast.AsyncFunctionDef):
            for argument in [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]:
                if module.annotation(argument.annotation) in SESSIONS:
                    report.add(
                        "DRV003",
                        module.path,
                        argument.lineno,
                        f"`async def {function.name}` takes a synchronous session as {argument.arg}.",
                    )
            if any((module.qualify(d) or "").endswith("asynccontextmanager") for d in function.decorator_list):
                for client in unclosed(module, function):
                    report.add(
                        "DRV008",
                        module.path,
                        client.lineno,
                        f"{module.qualify(client.func)} is not closed after the yield of {function.name}.",
                    )


def unclosed(module: Module, function: ast.AsyncFunctionDef) -> Iterator[ast.Call]:
    """Clients assigned before the yield of a lifespan, and neither closed nor handed to something that closes them."""
    nodes = list(own_nodes(function))
    used = [
        n
        for n in nodes
        if isinstance(n, ast.Attribute)
        and n.attr in ("close", "aclose", "disconnect", "stop", "terminate", "__aexit__", "shutdown")
    ]
    closed = {ast.unparse(n.value) for n in used}
    handed = {ast.unparse(a) for n in nodes if isinstance(n, ast.Call) for a in n.args}
    for node in nodes:
        value = node.value if isinstance(node, ast.Assign) else None
        value = value.value if isinstance(value, ast.Await) else value
        if isinstance(node, ast.Assign) and isinstance(value, ast.Call) and module.qualify(value.func) in CLIENTS:
            names = {ast.unparse(t) for t in node.targets}
            aliases = {
                ast.unparse(t) for n in nodes if isinstance(n, ast.Assign) and ast.unparse(n.value) in names for t in n.targets
            }
            managed = {ast.unparse(i.context_expr) for n in nodes if isinstance(n, ast.AsyncWith) for i in n.items}
            if not (names | aliases) & (closed | handed | managed):
                yield value


def pooled(module: Module, call: ast.Call) -> bool:
    """`async with httpx.AsyncClient()` in a route is wasteful, not wrong: the linter of endpoints speaks of it."""
    return isinstance(module.parents.get(call), ast.withitem)


def is_route(function: Function) -> bool:
    return any(
        isinstance(d, ast.Call) and isinstance(d.func, ast.Attribute) and d.func.attr in ROUTES and d.args
        for d in function.decorator_list
    )


def dropped(module: Module, call: ast.Call) -> bool:
    holder = module.parents.get(call)
    return isinstance(holder, ast.Expr) or (isinstance(holder, (ast.Attribute, ast.Subscript)) and holder.value is call)


def first_text(call: ast.Call) -> str | None:
    value = constant(call.args[0]) if call.args else None
    return value if isinstance(value, str) else None


def constant(node: ast.expr | None) -> Any:
    return node.value if isinstance(node, ast.Constant) else None


def sync_url(url: str) -> bool:
    scheme = urlsplit(url).scheme
    return scheme in ("postgresql", "postgres", "mysql", "sqlite") or scheme.endswith(("+psycopg2", "+pymysql", "+mysqldb"))


def requirements(report: Report, packaging: Any, targets: list[str], exclude: list[str]) -> None:
    for path in files(Report(TOOL), targets, ["requirements*.txt", "pyproject.toml"], [*exclude, *PRUNED]):
        text = report.read(path)
        if text is None:
            continue
        for line, item in wanted(text, path):
            try:
                name = packaging.Requirement(item).name.lower().replace("_", "-")
            except packaging.InvalidRequirement:
                continue
            if name in BANNED:
                report.add("DRV004", path, line, f"{name} is required; the async service needs {BANNED[name]}.")


def wanted(text: str, path: Path) -> Iterator[tuple[int, str]]:
    if path.suffix == ".txt":
        for number, line in enumerate(text.splitlines(), 1):
            item = line.partition("#")[0].strip()
            if item and not item.startswith("-"):
                yield number, item
        return
    try:
        items = tomllib.loads(text).get("project", {}).get("dependencies", [])
    except tomllib.TOMLDecodeError:
        return
    lines = text.splitlines()
    for item in items if isinstance(items, list) else []:
        yield next((n for n, line in enumerate(lines, 1) if str(item) in line), 0), str(item)


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
