# /// script
# requires-python = ">=3.11"
# dependencies = ["ruff>=0.17,<1"]
# ///
"""Lints FastAPI endpoints: event-loop safety, contracts in and out, life of clients, and what moved on since pydantic v1."""

from __future__ import annotations

import argparse
import ast
import re
import sys

from _blocking import find, second_opinion
from _engines import ruff
from _pysource import FUNCTIONS, Function, Module, Project, load, own_nodes
from _report import Report, Rule, Tool, main
from _routes import Route, Routes, extra_decided, is_depends, is_model, keyword, parameters, text

RULES = (
    Rule("API001", "error", "an async endpoint blocks the event loop", "Use the async client, or make the route a plain def: FastAPI runs that in its thread pool."),
    Rule("API002", "info", "an async endpoint that awaits nothing", "Fine for pure computation of microseconds; a plain def costs a thread switch."),
    Rule("API003", "warning", "an endpoint without response model or return type", "Annotate the return type, or pass response_model: it filters what leaves and documents it."),
    Rule("API004", "warning", "the body is taken as a raw dict or Request.json()", "Take a pydantic model: bad input then is a 422 with a place, and the schema is published."),
    Rule("API005", "error", "a default that is shared between requests, or a dependency that is called", "Depends(function), without calling it; None instead of a mutable default."),
    Rule("API006", "warning", "an endpoint that another one hides", "Declare fixed paths before those with parameters; give each path and method one handler."),
    Rule("API007", "warning", "on_event, which Starlette has removed", "Pass lifespan= an asynccontextmanager."),
    Rule("API008", "error", "a client, pool or model is made for each request", "Make it in the lifespan and keep it in app.state."),
    Rule("API009", "warning", "a client without a timeout", "Give each client a timeout below the request's own deadline."),
    Rule("API010", "info", "a route that creates or deletes answers 200", "status_code=201 for what creates, 204 for what deletes."),
    Rule("API011", "warning", "a pydantic v1 idiom", "model_config = ConfigDict(...), @field_validator, .model_dump()."),
    Rule("API012", "info", "a request model lets unknown fields pass", "model_config = ConfigDict(extra='forbid'): a misspelt feature is then an error, not a missing value."),
    Rule("API013", "warning", "an app without health and readiness routes", "GET /health/live touches nothing; GET /health/ready asks the dependencies, with a timeout."),
    Rule("API014", "error", "a path parameter that the handler does not take", "Add the parameter, or mend the path."),
    Rule("API015", "warning", "a background task that blocks the loop", "A plain def is run in a thread; an async def must not block."),
)  # fmt: skip
TOOL = Tool("lint_endpoints", "1.0.0", __doc__ or "", RULES)
PER_REQUEST = frozenset({"asyncpg.create_pool", "redis.asyncio.Redis", "redis.asyncio.from_url", "redis.Redis", "redis.from_url", "httpx.AsyncClient",
                         "httpx.Client", "aiohttp.ClientSession", "sqlalchemy.create_engine", "sqlalchemy.ext.asyncio.create_async_engine",
                         "cenote.load", "h2o.load_model", "h2o.import_mojo", "joblib.load", "boto3.client", "psycopg_pool.AsyncConnectionPool"})  # fmt: skip
NEED_TIMEOUT = {"aiokafka.AIOKafkaProducer": None, "redis.asyncio.Redis": "socket_timeout", "redis.asyncio.from_url": "socket_timeout",
                "redis.Redis": "socket_timeout", "redis.from_url": "socket_timeout", "asyncpg.create_pool": "command_timeout"}  # fmt: skip
PARAMETER = re.compile(r"{([A-Za-z_]\w*)(?::(?!path)\w+)?}")  # a catch-all `:path` may well go unread
PLAIN = frozenset(
    {
        "uuid",
        "datetime",
        "typing",
        "decimal",
        "enum",
        "pathlib",
        "collections",
        "fastapi",
        "starlette",
        "pydantic",
        "sqlalchemy",
        "sqlmodel",
    }
)
HEALTH = re.compile(r"health|ready|live|ping|status", re.I)
V1_DECORATORS = {"pydantic.validator": "@field_validator", "pydantic.root_validator": "@model_validator"}
V1_METHODS = frozenset({"dict", "json", "parse_obj", "parse_raw", "construct", "update_forward_refs"})


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="api_directory", help="Python files or folders")
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="GLOB", help="files or folders to leave out, e.g. 'tests'"
    )


def check(args: argparse.Namespace, report: Report) -> None:
    report.engines.append("python ast " + ".".join(map(str, sys.version_info[:2])))
    project = load(report, args.paths, args.exclude)
    routes = Routes(project)
    handlers = {id(r.function) for r in routes.routes}
    tasks = background(project)
    blocks = find(project)
    for block in [*blocks, *second_opinion(report, project, blocks)]:
        through = f" (through {' -> '.join(block.chain)})" if block.chain else ""
        if id(block.function) in handlers:
            report.add(
                "API001",
                block.module.path,
                block.node.lineno,
                f"{block.name} in `async def {block.function.name}`{through}.",
                column=block.node.col_offset + 1,
                severity=block.severity,
            )
        elif id(block.function) in tasks:
            report.add(
                "API015",
                block.module.path,
                block.node.lineno,
                f"{block.name} in `async def {block.function.name}`, which is a background task{through}.",
            )
    bodies: set[str] = set()
    for route in routes.routes:
        endpoint(report, project, routes, route, bodies)
    unused_parameters(report, project, routes)
    hidden(report, routes)
    health(report, routes)
    for module in project.modules:
        idioms(report, project, module, bodies)


def unused_parameters(report: Report, project: Project, routes: Routes) -> None:
    """Ruff's FAST003, for handlers whose dependencies are all in sight: one that is not may take the parameter."""
    modules = {str(m.path.resolve()): m for m in project.modules}
    told = {(f.path, f.line) for f in report.findings if f.rule_id == "API014"}
    for hit in ruff(report, "FAST003", [m.path for m in project.modules]):
        module = modules.get(hit["filename"])
        for route in routes.routes:
            inside = route.line <= hit["location"]["row"] <= route.function.lineno
            swallows = ":path}" in (route.path or "")
            if (
                route.module is module
                and inside
                and not swallows
                and (module.shown, route.line) not in told
                and not unknown(routes, route)
            ):
                told.add((module.shown, route.line))
                report.add("API014", module.path, route.line, f"`{route.function.name}`: {hit['message']}.")


def background(project: Project) -> set[int]:
    found = set()
    for module in project.modules:
        for call in module.calls():
            if (
                isinstance(call.func, ast.Attribute)
                and call.func.attr == "add_task"
                and call.args
                and module.qualify(call.func) == "fastapi.BackgroundTasks().add_task"
            ):
                target = project.functions.get(module.qualify(call.args[0]) or "")
                if target and isinstance(target[1], ast.AsyncFunctionDef):
                    found.add(id(target[1]))
    return found


def endpoint(report: Report, project: Project, routes: Routes, route: Route, bodies: set[str]) -> None:
    module, function, path = route.module, route.function, route.module.path
    name = f"`{function.name}`"
    nodes = list(own_nodes(function))
    if route.methods == ("websocket",):
        return
    waits = any(isinstance(n, (ast.Await, ast.AsyncFor, ast.AsyncWith)) for n in nodes)
    if (
        isinstance(function, ast.AsyncFunctionDef)
        and not waits
        and not any(isinstance(n, (ast.Yield, ast.YieldFrom)) for n in nodes)
        and any(isinstance(n, ast.Call) for n in nodes)
    ):
        report.add("API002", path, route.line, f"{name} is async and awaits nothing.")
    shape = keyword(route.decorator, "response_model") or keyword(route.decorator, "response_class")
    hidden_route = isinstance(h := keyword(route.decorator, "include_in_schema"), ast.Constant) and h.value is False
    status = keyword(route.decorator, "status_code")
    empty = status is not None and "204" in ast.unparse(status)
    if shape is None and function.returns is None and not empty and not hidden_route:
        report.add("API003", path, route.line, f"{name} says nothing of what it returns.")
    given = {a.arg for a, _ in parameters(function)}
    for argument, default in parameters(function):
        kind = ast.unparse(argument.annotation) if argument.annotation is not None else ""
        if (
            re.fullmatch(r"(dict|Dict|typing\.Dict)(\[.*\])?|Any|typing\.Any", kind)
            and {"post", "put", "patch"} & set(route.methods)
            and not is_depends(module, default)
        ):
            report.add("API004", path, argument.lineno, f"{name} takes {argument.arg} as {kind}.")
        if isinstance(default, (ast.List, ast.Dict, ast.Set)):
            report.add(
                "API005",
                path,
                argument.lineno,
                f"{name}: the default of {argument.arg} is shared between requests.",
                severity="warning",
            )
        if (
            is_depends(module, default)
            and isinstance(default, ast.Call)
            and default.args
            and isinstance(default.args[0], ast.Call)
        ):
            called = module.qualify(default.args[0].func) or ""
            target = project.functions.get(called)
            if target is not None and not returns_callable(target[1]):
                report.add(
                    "API005", path, argument.lineno, f"{name}: Depends() is given {called.rpartition('.')[2]}(), its result."
                )
        if argument.annotation is not None and {"post", "put", "patch"} & set(route.methods):
            bodies.add(module.qualify(argument.annotation) or "")
    for node in nodes:
        if not isinstance(node, ast.Call):
            continue
        called = module.qualify(node.func) or ""
        if called in PER_REQUEST:
            report.add(
                "API008", path, node.lineno, f"{called} in {name}.", severity="warning" if called.startswith("httpx.") else None
            )
        if called in ("fastapi.Request().json", "starlette.requests.Request().json"):
            report.add("API004", path, node.lineno, f"{name} reads the body by Request.json().")
    if route.path is not None and "**" not in ast.unparse(function.args) and function.args.kwarg is None:
        taken = given | {n for m, d in routes.above(route) for n in names_below(routes, m, d)}
        for parameter in PARAMETER.findall(route.path):
            if parameter not in taken and not aliased(function, parameter) and not unknown(routes, route):
                report.add("API014", path, route.line, f"{name} does not take {{{parameter}}} of {route.path}.")
    if status is None and len(route.methods) == 1:
        if route.methods == ("delete",) and isinstance(function.returns, ast.Constant) and function.returns.value is None:
            report.add("API010", path, route.line, f"{name} deletes, returns nothing, and answers 200.")
        elif route.methods == ("post",) and re.match(r"(create|add|register)_", function.name):
            report.add("API010", path, route.line, f"{name} creates and answers 200.")


def returns_callable(function: Function) -> bool:
    """A factory: it defines a function or class inside, or its annotation says Callable."""
    return any(
        isinstance(n, (*FUNCTIONS, ast.Lambda)) for n in ast.walk(function) if n is not function
    ) or "Callable" in ast.dump(function.returns or ast.Pass())


def names_below(routes: Routes, module: Module, depends: ast.Call) -> set[str]:
    found: set[str] = set()
    for _, _, node in routes.closure(module, depends):
        inner = (
            node
            if isinstance(node, FUNCTIONS)
            else next(
                (m for m in getattr(node, "body", []) if isinstance(m, FUNCTIONS) and m.name in ("__init__", "__call__")), None
            )
        )
        if inner is not None:
            found |= {a.arg for a, _ in parameters(inner)}
    return found


def unknown(routes: Routes, route: Route) -> bool:
    """Whether the parameter may be taken unseen: by a dependency outside of what was read, or from the Request itself."""
    if any(foreign(route.module, a.annotation) for a, _ in parameters(route.function)):
        return True
    inner = [n for m, d in routes.above(route) for _, _, n in routes.closure(m, d)]
    if any(
        re.search(r":\s*(?:\w+\.)*(?:Request|WebSocket|HTTPConnection)\b", ast.unparse(n.args))
        for f in [route.function, *inner]
        if f is not None
        for n in ast.walk(f)
        if isinstance(n, FUNCTIONS)
    ):
        return True
    return any(node is None for m, d in routes.above(route) for _, _, node in routes.closure(m, d)) or any(
        is_depends(route.module, d) and not d.args and not d.keywords
        for _, d in parameters(route.function)
        if isinstance(d, ast.Call)
    )


def foreign(module: Module, annotation: ast.expr | None) -> bool:
    """A name from a file that was not read: it may be an `Annotated[..., Depends(...)]`."""
    if not isinstance(annotation, ast.Name) or module.project is None:
        return False
    for node in module.scopes[module.tree].names.get(annotation.id, ()):
        if isinstance(node, ast.ImportFrom):
            home = module.absolute(node)
            return module.project.find(home) is None and home.partition(".")[0] not in PLAIN
    return False


def aliased(function: Function, name: str) -> bool:
    return any(
        isinstance(n, ast.keyword) and n.arg in ("alias", "validation_alias") and text(n.value) == name
        for n in ast.walk(function.args)
    )


def hidden(report: Report, routes: Routes) -> None:
    """Handlers that a request never reaches: same method and path, or a fixed path after a parameter, on one router."""
    for number, route in enumerate(routes.routes):
        for earlier in routes.routes[:number]:
            if (
                earlier.owner is not route.owner
                or earlier.module.function_of(earlier.function) is not route.module.function_of(route.function)
                or earlier.module is not route.module
                or route.path is None
                or earlier.path is None
            ):
                continue
            if not set(earlier.methods) & set(route.methods) or earlier.function is route.function:
                continue
            if earlier.path == route.path:
                report.add(
                    "API006", route.module.path, route.line, f"{route.path} is already handled by `{earlier.function.name}`."
                )
                break
            if "{" in earlier.path and "{" not in route.path and covers(earlier, route.path):
                report.add(
                    "API006",
                    route.module.path,
                    route.line,
                    f"{route.path} is caught by {earlier.path} of `{earlier.function.name}` before it.",
                )
                break


def covers(earlier: Route, path: str) -> bool:
    def part(match: re.Match[str]) -> str:
        kind = match[0].partition(":")[2].rstrip("}")
        return ".*" if kind == "path" else r"\d+" if kind in ("int", "float") else "[^/]+"

    assert earlier.path is not None
    pieces = re.split(r"({[^}]+})", earlier.path)
    pattern = "".join(part(m) if (m := re.fullmatch(r"{[^}]+}", p)) else re.escape(p) for p in pieces)
    return re.fullmatch(pattern, path) is not None


def health(report: Report, routes: Routes) -> None:
    apps = [o for o in routes.owners.values() if o.is_app]
    if (
        len(apps) == 1
        and len(routes.routes) >= 3
        and routes.complete
        and not any(HEALTH.search(routes.full_path(r)) for r in routes.routes)
    ):
        report.add("API013", apps[0].module.path, apps[0].call.lineno)


def idioms(report: Report, project: Project, module: Module, bodies: set[str]) -> None:
    path = module.path
    for node in module.nodes:
        if isinstance(node, FUNCTIONS):
            for decorator in node.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                name = module.qualify(called) or ""
                if name in V1_DECORATORS:
                    report.add(
                        "API011", path, decorator.lineno, f"@{name.rpartition('.')[2]} is pydantic v1; use {V1_DECORATORS[name]}."
                    )
                if (
                    isinstance(called, ast.Attribute)
                    and called.attr == "on_event"
                    and (module.qualify(called.value) or "") in ("fastapi.FastAPI()", "fastapi.APIRouter()")
                ):
                    report.add("API007", path, decorator.lineno)
        elif isinstance(node, ast.ClassDef) and is_model(project, module, node):
            inner = [n for n in node.body if isinstance(n, ast.ClassDef) and n.name == "Config"]
            for config in inner:
                report.add("API011", path, config.lineno, f"class Config of {node.name} is pydantic v1; use model_config.")
            if f"{module.dotted}.{module.path_of(node)}" in bodies and not inner and not extra_decided(project, module, node):
                report.add("API012", path, node.lineno, f"{node.name} is a request body and lets unknown fields pass.")
        elif isinstance(node, ast.Call):
            name = module.qualify(node.func) or ""
            word = NEED_TIMEOUT.get(name)
            if word and keyword(node, word) is None and not any(k.arg is None for k in node.keywords):
                report.add("API009", path, node.lineno, f"{name} without {word}.")
            if (
                name in ("httpx.AsyncClient", "httpx.Client")
                and isinstance(t := keyword(node, "timeout"), ast.Constant)
                and t.value is None
            ):
                report.add("API009", path, node.lineno, f"{name} with timeout=None.")
            owner, _, method = name.rpartition(".")
            if method in V1_METHODS and owner.endswith("()") and (c := project.classes.get(owner[:-2])) and is_model(project, *c):
                report.add("API011", path, node.lineno, f".{method}() of a pydantic model is v1.")


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
