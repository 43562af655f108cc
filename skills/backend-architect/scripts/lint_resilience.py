# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Finds where a service of Python would fall with what it depends on: no time limit, no breaker, endless retries, stampedes, N+1."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from pathlib import PurePosixPath

from _pysource import FUNCTIONS, Function, Module, Project, load, own_nodes
from _report import Report, Rule, Tool, main

RULES = (
    Rule("RES001", "error", "a call to another service without a time limit", "Give it timeout=SECONDS, below the caller's own deadline."),
    Rule("RES002", "warning", "a request waits for a dependency with neither breaker nor fallback", "Call it through a breaker, and answer without it where the answer allows."),
    Rule("RES003", "error", "a retry without an end, or without jitter", "stop_after_attempt(3) | stop_after_delay(S), wait_random_exponential(max=S): assets/patterns/retry.py."),
    Rule("RES004", "error", "a breaker that counts callers' mistakes, or is made anew for each request", "Make it once; count time-outs and connection errors only."),
    Rule("RES005", "warning", "a cache entry that never expires, that outlives the model, or whose loss is an error", "ex=SECONDS with jitter; the model's digest in the key; a miss when Redis is away."),
    Rule("RES006", "error", "a GraphQL resolver that queries for each item, or a DataLoader that outlives its request", "A DataLoader in the request's context, one query for all keys: assets/patterns/graphql_dataloader.py."),
    Rule("RES007", "warning", "work without a bound: a queue, or as many calls at once as the input has items", "Queue(maxsize=N); a Semaphore around each call: assets/patterns/bulkhead.py."),
    Rule("RES008", "error", "one executor for scoring and for I/O", "An executor for each: a slow disk must not queue behind a batch, nor the other way."),
    Rule("RES009", "warning", "a retry of what may take effect twice", "Retry only what is safe to repeat, or send an Idempotency-Key."),
)  # fmt: skip
TOOL = Tool("lint_resilience", "1.0.0", __doc__ or "", RULES)
VERBS = frozenset({"get", "post", "put", "patch", "delete", "head", "options", "request", "send", "stream"})
LIMITS = ("asyncio.timeout()", "asyncio.timeout_at()", "anyio.fail_after()", "anyio.move_on_after()", "async_timeout.timeout()")
# Clients whose own default is no limit, or minutes of it: constructor -> the argument that sets it.
CLIENTS = {
    "httpx.AsyncClient": "timeout", "httpx.Client": "timeout", "httpx2.AsyncClient": "timeout", "httpx2.Client": "timeout",
    "redis.asyncio.Redis": "socket_timeout", "redis.asyncio.from_url": "socket_timeout", "redis.asyncio.Redis.from_url": "socket_timeout",
    "redis.Redis": "socket_timeout", "redis.from_url": "socket_timeout", "redis.Redis.from_url": "socket_timeout",
}  # fmt: skip
# Where the time limit may also stand by its place.
POSITIONAL = {"urllib.request.urlopen": 2, "socket.create_connection": 1}
REDIS = tuple(f"{name}()" for name in CLIENTS if name.startswith("redis."))
HTTP = (
    "httpx.AsyncClient()",
    "httpx.Client()",
    "httpx2.AsyncClient()",
    "httpx2.Client()",
    "aiohttp.ClientSession()",
    "requests.Session()",
    "requests",
    "httpx",
)
POSTGRES = ("asyncpg.create_pool()", "asyncpg.connect()", "asyncpg.Pool()", "asyncpg.pool.Pool()", "asyncpg.Connection()", "psycopg.AsyncConnection.connect()")  # fmt: skip
QUERIES = frozenset({"fetch", "fetchrow", "fetchval", "execute", "executemany", "scalar", "scalars"})
GUARDS = ("breaker", "circuit", "bulkhead")
CALLERS = frozenset({"fastapi.HTTPException", "fastapi.exceptions.HTTPException", "starlette.exceptions.HTTPException", "fastapi.exceptions.RequestValidationError",
                     "builtins.BaseException", "builtins.ValueError", "builtins.KeyError", "builtins.TypeError", "pydantic.ValidationError"})  # fmt: skip
ROUTES = frozenset({"get", "post", "put", "patch", "delete", "websocket", "api_route"})
SCORING = frozenset({"predict", "predict_proba", "predict_row", "score", "transform", "predict_contributions"})
STAMPS = ("model", "digest", "version", "uuid", "sha", "revision", "release")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", help="Python files or folders")
    parser.add_argument("--source-dir", action="append", default=[], metavar="DIR", help="a folder to scan (may be given again)")
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="files or folders to leave out")
    parser.add_argument("--tests", action="store_true", help="also judge test files, which are passed over otherwise")


def check(args: argparse.Namespace, report: Report) -> None:
    project = load(report, [*args.paths, *args.source_dir], args.exclude)
    listed = listed_types(project)
    for module in project.modules:
        if not args.tests and is_test(module):
            continue
        limits(report, module)
        requests(report, module)
        retries(report, module)
        breakers(report, module)
        cache(report, module)
        graphql(report, module, listed)
        bounds(report, module)
        executors(report, module)


def is_test(module: Module) -> bool:
    path = PurePosixPath(module.shown)
    return path.name.startswith(("test_", "conftest")) or path.name.endswith("_test.py")


def word(call: ast.Call, name: str) -> ast.expr | None:
    return next((k.value for k in call.keywords if k.arg == name), None)


def spread(call: ast.Call) -> bool:
    """Whether `**arguments` may give what is not seen."""
    return any(k.arg is None for k in call.keywords)


def nothing(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def above(module: Module, node: ast.AST) -> Iterator[ast.AST]:
    """What encloses a node, inside out, up to its function."""
    at = module.parents.get(node)
    while at is not None and not isinstance(at, FUNCTIONS):
        yield at
        at = module.parents.get(at)


def limited(module: Module, node: ast.AST) -> bool:
    """Whether something around a call ends it: asyncio.timeout, wait_for, or a project's own `call(..., timeout=)`."""
    for at in above(module, node):
        if isinstance(at, (ast.AsyncWith, ast.With)) and any(module.qualify(i.context_expr) in LIMITS for i in at.items):
            return True
        if isinstance(at, ast.Call) and at is not node:
            if module.qualify(at.func) == "asyncio.wait_for" or word(at, "timeout") is not None:
                return True
    return False


def limits(report: Report, module: Module) -> None:
    for call in module.calls():
        name = module.qualify(call.func) or ""
        owner, _, verb = name.rpartition(".")
        if spread(call):
            continue
        given = word(call, "timeout")
        if (
            owner in ("requests", "requests.api", "requests.Session()", "requests.sessions.Session()") and verb in VERBS
        ) or name in POSITIONAL:
            positional = len(call.args) > POSITIONAL.get(name, 99)
            if owner.endswith("Session()") and verb == "send":
                continue
            if (given is None and not positional) or nothing(given):
                report.add("RES001", module.path, call.lineno, f"{name} waits as long as the other side likes.")
        elif name in CLIENTS:
            given = word(call, CLIENTS[name])
            if nothing(given):
                report.add("RES001", module.path, call.lineno, f"{name} with {CLIENTS[name]}=None waits for ever.")
            elif given is None and name.startswith("redis.") and word(call, "connection_pool") is None:
                report.add(
                    "RES001",
                    module.path,
                    call.lineno,
                    f"{name} without socket_timeout: before redis-py 8 that is for ever.",
                    severity="warning",
                )
        elif owner in HTTP and verb in VERBS and nothing(given) and not limited(module, call):
            report.add("RES001", module.path, call.lineno, f"{name} with timeout=None.")
        elif name == "aiohttp.ClientSession" and (nothing(given) or (given is None and not limited(module, call))):
            told = "with timeout=None waits for ever" if given is not None else "waits up to five minutes by default"
            report.add(
                "RES001",
                module.path,
                call.lineno,
                f"aiohttp.ClientSession {told}.",
                severity=None if given is not None else "warning",
            )
        elif name == "asyncpg.connect" and given is None and word(call, "command_timeout") is None and not limited(module, call):
            report.add(
                "RES001",
                module.path,
                call.lineno,
                "asyncpg.connect without command_timeout: a query may wait for ever.",
                severity="warning",
            )


def is_route(function: ast.AST | None) -> bool:
    return isinstance(function, FUNCTIONS) and any(
        isinstance(d, ast.Call) and isinstance(d.func, ast.Attribute) and d.func.attr in ROUTES and (d.args or d.keywords)
        for d in function.decorator_list
    )


def remote(module: Module, call: ast.Call) -> str | None:
    """What a call waits for, where its client is known: HTTP, Redis or PostgreSQL."""
    owner, _, verb = (module.qualify(call.func) or "").rpartition(".")
    if owner in HTTP and verb in VERBS:
        return "HTTP"
    if owner in REDIS and not verb.startswith(("pipeline", "pubsub", "aclose", "close", "from_")):
        return "Redis"
    return "PostgreSQL" if owner in POSTGRES and verb in QUERIES else None


def requests(report: Report, module: Module) -> None:
    """Calls that a route makes itself, straight to a dependency: outside try, and through no breaker."""
    for function in module.nodes:
        if not is_route(function):
            continue
        assert isinstance(function, FUNCTIONS)
        if any(guarded(ast.unparse(d)) for d in function.decorator_list):
            continue
        for node in own_nodes(function):
            if isinstance(node, ast.Call) and (kind := remote(module, node)) in ("HTTP", "Redis") and not protected(module, node):
                report.add("RES002", module.path, node.lineno, f"{function.name} fails whenever {kind} does.")


def guarded(text: str) -> bool:
    return any(name in text.lower() for name in GUARDS)


def protected(module: Module, node: ast.AST) -> bool:
    child: ast.AST = node
    for at in above(module, node):
        if isinstance(at, ast.Try) and at.handlers and child in at.body:
            return True
        if isinstance(at, (ast.AsyncWith, ast.With)) and any(guarded(ast.unparse(i.context_expr)) for i in at.items):
            return True
        if isinstance(at, ast.Call) and at is not node and guarded(ast.unparse(at.func)):
            return True
        child = at
    return False


def retries(report: Report, module: Module) -> None:
    for function in module.nodes:
        if isinstance(function, FUNCTIONS):
            for decorator in function.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                name = module.qualify(called) or ""
                words = {k.arg for k in decorator.keywords} if isinstance(decorator, ast.Call) else set()
                if None in words:
                    continue
                if name in ("tenacity.retry", "stamina.retry", "backoff.on_exception", "backoff.on_predicate"):
                    retried(report, module, function, decorator, name, words)
    for call in module.calls():
        name = module.qualify(call.func) or ""
        if (
            name in ("tenacity.AsyncRetrying", "tenacity.Retrying")
            and not spread(call)
            and word(call, "stop") is None
            and not call.args
        ):
            report.add("RES003", module.path, call.lineno, f"{name} without stop never gives up.")
    for loop in module.nodes:
        if isinstance(loop, ast.While) and isinstance(loop.test, ast.Constant) and loop.test.value:
            endless(report, module, loop)


def retried(report: Report, module: Module, function: Function, decorator: ast.expr, name: str, words: set[str | None]) -> None:
    where = {"path": module.path, "line": decorator.lineno}
    ends = {"tenacity.retry": {"stop"}, "stamina.retry": {"attempts", "timeout"}}.get(name, {"max_tries", "max_time"})
    if name != "stamina.retry" and not ends & words:
        report.add("RES003", **where, message=f"{function.name} is retried for ever: {name} without {' or '.join(sorted(ends))}.")
    elif name == "tenacity.retry":
        wait = word(decorator, "wait") if isinstance(decorator, ast.Call) else None
        text = ast.unparse(wait) if wait is not None else ""
        if "random" not in text and "jitter" not in text and (wait is None or isinstance(wait, (ast.Call, ast.BinOp))):
            report.add(
                "RES003",
                **where,
                message=f"{function.name} is retried {'in step' if wait is not None else 'at once'} by every caller: no jitter.",
                severity="warning",
            )
    elif name.startswith("backoff.") and isinstance(decorator, ast.Call) and nothing(word(decorator, "jitter")):
        report.add("RES003", **where, message=f"{function.name} is retried without jitter.", severity="warning")
    for node in own_nodes(function):
        if (
            isinstance(node, ast.Call)
            and remote(module, node) == "HTTP"
            and (module.qualify(node.func) or "").endswith((".post", ".patch"))
        ):
            if "idempotency" not in ast.unparse(node).lower():
                report.add("RES009", module.path, node.lineno, f"{function.name} is retried, and this may take effect twice.")


def endless(report: Report, module: Module, loop: ast.While) -> None:
    """`while True: try: return await call() except: pass`: each failure begins anew, and nothing counts."""
    for tried in loop.body:
        if not isinstance(tried, ast.Try) or not tried.handlers:
            continue
        leaves = any(
            isinstance(n, (ast.Return, ast.Break)) for part in (tried.body, tried.orelse) for s in part for n in ast.walk(s)
        )
        calls = any(isinstance(n, ast.Call) and goes_out(module, n) for s in tried.body for n in ast.walk(s))
        gives_up = any(
            isinstance(n, (ast.Return, ast.Break, ast.Raise))
            for part in (*tried.handlers, *[s for s in loop.body if s is not tried])
            for n in ast.walk(part)
        )
        if leaves and calls and not gives_up:
            report.add("RES003", module.path, loop.lineno, "this loop retries for ever.")


def breakers(report: Report, module: Module) -> None:
    for call in module.calls():
        name = module.qualify(call.func) or ""
        own = name.rpartition(".")[2].endswith("Breaker") and module.project is not None and name in module.project.classes
        named = name.endswith(("Breaker", "BreakerFactory", "RateLimiter"))
        if not named and name != "circuitbreaker.circuit":
            continue
        function = module.function_of(call)
        if is_route(function) and named:
            report.add("RES004", module.path, call.lineno, f"{name} is made for each request: it never counts to two.")
        counted = [word(call, key) for key in ("expected_exception", "failures", "exceptions")] + (call.args[1:] if own else [])
        for given in counted:
            for item in given.elts if isinstance(given, (ast.Tuple, ast.List)) else [given]:
                caught = module.qualify(item)
                if caught in CALLERS:
                    report.add(
                        "RES004",
                        module.path,
                        call.lineno,
                        f"the breaker counts {caught.removeprefix('builtins.')}, which is the caller's mistake or a cancellation.",
                    )
                elif caught == "httpx.HTTPStatusError":
                    report.add(
                        "RES004",
                        module.path,
                        call.lineno,
                        "the breaker counts each HTTPStatusError, 404 and 422 among them.",
                        severity="warning",
                    )


def cache(report: Report, module: Module) -> None:
    for call in module.calls():
        owner, _, verb = (module.qualify(call.func) or "").rpartition(".")
        if owner not in REDIS:
            continue
        function = module.function_of(call)
        if (
            verb == "set"
            and len(call.args) < 3
            and not spread(call)
            and not any(word(call, k) is not None for k in ("ex", "px", "exat", "pxat", "keepttl"))
        ):
            report.add("RES005", module.path, call.lineno, "a key is set without expiry: Redis fills until it refuses or evicts.")
        if verb == "get" and is_route(function) and not protected(module, call):
            report.add("RES005", module.path, call.lineno, "a cache that is away makes this request fail, not slow.")
        if verb in ("get", "set", "setex") and isinstance(function, FUNCTIONS) and call.args:
            scores = any(
                isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr in SCORING
                for n in own_nodes(function)
            )
            key = resolved(module, function, call.args[0])
            if scores and isinstance(key, ast.JoinedStr) and not any(stamp in ast.unparse(key).lower() for stamp in STAMPS):
                report.add(
                    "RES005",
                    module.path,
                    call.lineno,
                    "the key of a cached score names no model: a swap serves the old one's answers.",
                )


def resolved(module: Module, function: Function, node: ast.expr) -> ast.expr:
    """A local name's one value, else the expression itself."""
    if isinstance(node, ast.Name):
        given = [n.value for n in own_nodes(function) if isinstance(n, ast.Assign) and any(isinstance(t, ast.Name) and t.id == node.id for t in n.targets)]  # fmt: skip
        if len(given) == 1:
            return given[0]
    return node


def listed_types(project: Project) -> set[str]:
    """Classes that some function promises a list of: `list[Author]`, `Sequence[Author] | None`."""
    found: set[str] = set()
    for module in project.modules:
        for function in module.nodes:
            if not isinstance(function, FUNCTIONS) or function.returns is None:
                continue
            returns = function.returns
            if isinstance(returns, ast.Constant) and isinstance(returns.value, str):
                try:
                    returns = ast.parse(returns.value, mode="eval").body
                except SyntaxError:
                    continue
            for part in ast.walk(returns):
                if isinstance(part, ast.Subscript) and ast.unparse(part.value).rpartition(".")[2] in (
                    "list",
                    "List",
                    "Sequence",
                    "Iterable",
                ):
                    item = part.slice
                    name = item.value if isinstance(item, ast.Constant) and isinstance(item.value, str) else ast.unparse(item)
                    found.add(name.strip("'\"").rpartition(".")[2])
    return found


def graphql(report: Report, module: Module, listed: set[str]) -> None:
    for call in module.calls():
        if (
            module.qualify(call.func) in ("strawberry.dataloader.DataLoader", "aiodataloader.DataLoader")
            and module.function_of(call) is None
        ):
            if not isinstance(module.parents.get(call), ast.Lambda):
                report.add(
                    "RES006",
                    module.path,
                    call.lineno,
                    "this DataLoader outlives its request: it answers one caller from another's cache.",
                )
    for owner in module.nodes:
        if not isinstance(owner, ast.ClassDef) or owner.name not in listed:
            continue
        if not any(
            (module.qualify(d.func if isinstance(d, ast.Call) else d) or "").startswith("strawberry.")
            for d in owner.decorator_list
        ):
            continue
        for function in owner.body:
            if not isinstance(function, FUNCTIONS) or not any(
                (module.qualify(d.func if isinstance(d, ast.Call) else d) or "") == "strawberry.field"
                for d in function.decorator_list
            ):
                continue
            for node in own_nodes(function):
                if isinstance(node, ast.Await) and isinstance(node.value, ast.Call) and queries(module, node.value):
                    report.add(
                        "RES006",
                        module.path,
                        node.lineno,
                        f"{owner.name}.{function.name} queries once for each {owner.name} of a list.",
                    )
                    break


def queries(module: Module, call: ast.Call) -> bool:
    """A query by a known client, or by a method that only drivers have, with SQL or a statement as its first argument."""
    if remote(module, call):
        return True
    verb = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    first = call.args[0] if call.args else None
    text = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""
    return verb in QUERIES and (
        text.lstrip().upper().startswith(("SELECT", "WITH")) or "select(" in (ast.unparse(first) if first else "")
    )


def bounds(report: Report, module: Module) -> None:
    for call in module.calls():
        name = module.qualify(call.func) or ""
        function = module.function_of(call)
        if name == "asyncio.Queue" and not call.args and not call.keywords:
            report.add("RES007", module.path, call.lineno, "asyncio.Queue() grows until memory ends.")
        if name == "asyncio.gather" and len(call.args) == 1 and isinstance(call.args[0], ast.Starred):
            made = call.args[0].value
            if isinstance(function, FUNCTIONS) and isinstance(made, ast.Name):
                made = resolved(module, function, made)
            if not isinstance(made, (ast.ListComp, ast.GeneratorExp)) or not isinstance(made.elt, ast.Call):
                continue
            source = made.generators[0].iter
            few = isinstance(source, (ast.List, ast.Tuple)) or (
                isinstance(source, ast.Call) and ast.unparse(source.func) == "range"
            )
            called = module.qualify(made.elt.func) or ""
            own = module.project is not None and called in module.project.functions
            asked = is_route(function) and not own and called != "asyncio.sleep"
            if not few and (goes_out(module, made.elt) or asked):
                report.add("RES007", module.path, call.lineno, "as many calls at once as there are items.")


def goes_out(module: Module, call: ast.Call) -> bool:
    """Whether a call, or the project's function that it names, reaches a dependency, with no semaphore on the way."""
    if remote(module, call):
        return True
    name = module.qualify(call.func)
    found = module.project.functions.get(name) if module.project and name else None
    if found is None:
        return False
    home, function = found
    nodes = list(own_nodes(function))
    bounded = any(isinstance(n, ast.AsyncWith) and any(is_limiter(home, i.context_expr) for i in n.items) for n in nodes)
    return not bounded and any(isinstance(n, ast.Call) and remote(home, n) for n in nodes)


def is_limiter(module: Module, node: ast.expr) -> bool:
    name = module.qualify(node) or ast.unparse(node)
    return name.endswith(("Semaphore()", "Limiter()")) or any(part in name.lower() for part in ("sem", "limit"))


def executors(report: Report, module: Module) -> None:
    """What each executor of a module is given: scoring, I/O, or both."""
    scoring: dict[str, int] = {}
    waiting: set[str] = set()
    for call in module.calls():
        if not (isinstance(call.func, ast.Attribute) and call.func.attr in ("run_in_executor", "submit")) or not call.args:
            continue
        if call.func.attr == "submit":
            pool, work = ast.unparse(call.func.value), call.args[0]
            if not (module.qualify(call.func.value) or "").endswith("PoolExecutor()"):
                continue
        elif len(call.args) > 1:
            pool, work = ast.unparse(call.args[0]), call.args[1]
        else:
            continue
        if isinstance(work, ast.Call) and (module.qualify(work.func) or "") == "functools.partial" and work.args:
            work = work.args[0]
        name = module.qualify(work) or ""
        if isinstance(work, ast.Attribute) and work.attr in SCORING:
            scoring.setdefault(pool, call.lineno)
        elif name.startswith(
            ("requests.", "urllib.request.", "builtins.open", "shutil.", "pathlib.Path()", "os.", "socket.", "boto3.")
        ) or name.endswith((".read_text", ".read_bytes", ".write_text", ".write_bytes")):
            waiting.add(pool)
    for pool, line in scoring.items():
        if pool in waiting:
            told = "the default executor" if pool == "None" else pool
            report.add("RES008", module.path, line, f"{told} scores here and does I/O elsewhere in this module.")
        elif pool == "None":
            report.add(
                "RES008", module.path, line, "the default executor scores here: it also serves files and DNS.", severity="warning"
            )


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
