# /// script
# requires-python = ">=3.11"
# dependencies = ["ruff>=0.17,<1"]
# ///
"""Scans FastAPI source for what an attacker tries first: missing authentication, injection, unsafe loading, weak tokens, open doors."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator

from _engines import ruff
from _pysource import FUNCTIONS, Module, Project, load, own_nodes
from _report import Report, Rule, Tool, main
from _routes import Owner, Route, Routes, extra_decided, is_model, keyword, parameters, text

RULES = (
    Rule("SEC001", "error", "a route without authentication, where others have it", "Add the security dependency to the router, so that a new route cannot forget it."),
    Rule("SEC002", "warning", "a route that changes data asks for no scope", "Security(current_user, scopes=[...])."),
    Rule("SEC003", "error", "a token is accepted without full verification", "jwt.decode(token, key, algorithms=[one], audience=..., options={'require': ['exp', 'aud', 'iss']}); the key from the environment, 32 bytes or more."),
    Rule("SEC004", "error", "CORS lets every origin send credentials", "List the origins."),
    Rule("SEC005", "error", "debug mode", "Take it from settings, with False as default."),
    Rule("SEC006", "warning", "a login route without rate limit", "Limit by address and by account, with a store that all processes share."),
    Rule("SEC007", "error", "SQL is put together from values", "Bind values as parameters; take identifiers from a fixed table."),
    Rule("SEC008", "error", "data is executed: pickle, yaml.load, eval or a shell", "json, yaml.safe_load, ast.literal_eval, a list of arguments without shell."),
    Rule("SEC009", "error", "a file path comes from the request", "Resolve it, and require that it stays below the one allowed folder; better, look the name up in a table."),
    Rule("SEC010", "error", "the server fetches a URL that comes from the request", "Allow-list the hosts; forbid redirects and private addresses."),
    Rule("SEC011", "warning", "the text of an exception goes to the client", "Log it with a request id, and return the id."),
    Rule("SEC012", "info", "a list in a request model has no greatest length", "Field(max_length=...): one request must not cost a gigabyte."),
    Rule("SEC013", "info", "a request model lets unknown fields pass", "model_config = ConfigDict(extra='forbid'): what nobody reads should not be accepted."),
    Rule("SEC014", "error", "a fast hash for passwords", "argon2-cffi, or hashlib.scrypt."),
    Rule("SEC015", "warning", "a session cookie without secure, httponly and samesite", "set_cookie(..., secure=True, httponly=True, samesite='lax')."),
    Rule("SEC016", "warning", "a GraphQL schema without limits on depth or aliases", "extensions=[QueryDepthLimiter(max_depth=8), MaxAliasesLimiter(max_alias_count=15)]."),
    Rule("SEC017", "warning", "a token or password goes to the log", "Log an identifier, never the secret."),
    Rule("SEC018", "warning", "a model is loaded without its digest or signature being checked", "Compare the sha256 of the registry, or verify the manifest, before the load."),
    Rule("SEC019", "warning", "the other side's certificate is not verified", "Leave verify= alone, or give it the path of your own authority."),
    Rule("SEC020", "warning", "HTML is put together without escaping", "Environment(autoescape=select_autoescape()); Markup only around constants."),
)  # fmt: skip
TOOL = Tool("scan_api_security", "1.0.0", __doc__ or "", RULES)
AUTH = re.compile(
    r"auth|user|token|permission|principal|role|scope|login|api_?key|credential|admin|verify|security|bearer|jwt|session_required|oauth|protected",
    re.I,
)
PUBLIC = re.compile(
    r"health|ready|live|metrics|docs|openapi|login|token|sign_?up|register|password|callback|webhook|favicon|robots|version|static|\.well-known|ping|utils|logout|refresh",
    re.I,
)
SECRET_NAME = re.compile(r"(?:^|_)(?:passwd|password|secret|token|api_?key|authorization|jwt)(?:$|_)", re.I)
SQL = re.compile(
    r"\b(?:SELECT\s.+\sFROM|INSERT\s+INTO|UPDATE\s+\S+\s+SET|DELETE\s+FROM|WHERE|ORDER\s+BY|ALTER\s+TABLE|DROP\s+TABLE)\b",
    re.I | re.S,
)
EXECUTE = frozenset(
    {
        "execute",
        "executemany",
        "fetch",
        "fetchrow",
        "fetchval",
        "fetchall",
        "exec",
        "fetch_all",
        "fetch_one",
        "scalars",
        "scalar",
        "text",
        "raw",
    }
)
# Ruff's rules of flake8-bandit -> rule and severity. S608 is left out: SEC007 follows the values, and it looks at the text alone. What depends on where a value comes from stays below an error.
RUFF = {"S201": ("SEC005", "error"), "S301": ("SEC008", "warning"), "S302": ("SEC008", "warning"), "S307": ("SEC008", "warning"),
        "S506": ("SEC008", "error"), "S602": ("SEC008", "warning"), "S605": ("SEC008", "warning"),
        "S324": ("SEC014", "info"), "S501": ("SEC019", "warning"), "S323": ("SEC019", "warning"), "S502": ("SEC019", "warning"),
        "S503": ("SEC019", "warning"), "S701": ("SEC020", "warning"), "S702": ("SEC020", "warning"), "S704": ("SEC020", "warning")}  # fmt: skip
LIMITERS = ("slowapi", "fastapi_limiter", "limits", "asgi_ratelimit", "throttled")
CHANGES = frozenset({"post", "put", "patch", "delete"})
HTTP = re.compile(
    r"^(?:httpx|requests)(?:\.(?:AsyncClient|Client|Session)\(\))?\.(?:get|post|put|patch|delete|head|request|stream)$|^aiohttp\.ClientSession\(\)\.\w+$|^urllib\.request\.urlopen$"
)
LOG = re.compile(r"(?:^|\.)(?:log|logger|logging|LOG|LOGGER)\.(?:debug|info|warning|error|exception|critical)$")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", help="Python files or folders")
    parser.add_argument("--source-dir", action="append", default=[], metavar="DIR", help="a folder to scan (may be given again)")
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="GLOB", help="files or folders to leave out, e.g. 'tests'"
    )


def check(args: argparse.Namespace, report: Report) -> None:
    project = load(report, [*args.paths, *args.source_dir], args.exclude)
    routes = Routes(project)
    authentication(report, project, routes)
    handlers = {id(r.function): r for r in routes.routes}
    before = set(handlers)  # handlers, and what stands before them
    for route in routes.routes:
        before |= {
            id(n) for m, d in routes.above(route) for _, _, f in routes.closure(m, d) if f is not None for n in ast.walk(f)
        }
    for module in project.modules:
        for call in module.calls():
            function = module.function_of(call)
            one_call(report, module, call, handlers.get(id(function)), function, id(function) in before)
        for node in module.nodes:
            if isinstance(node, ast.ExceptHandler) and node.name:
                leaks(report, module, node)
    bodies(report, project, routes)
    bandit(report, project)


def bandit(report: Report, project: Project) -> None:
    """What ruff finds by bandit's rules, on lines where this script has said nothing of the kind."""
    modules = {str(m.path.resolve()): m for m in project.modules}
    told = {(f.path, f.line, f.rule_id) for f in report.findings}
    for hit in ruff(report, ",".join(RUFF), [m.path for m in project.modules]):
        module, (rule, severity) = modules.get(hit["filename"]), RUFF.get(hit["code"] or "", ("", ""))
        line = hit["location"]["row"]
        if hit["code"] == "S701" and module is not None and "html" not in module.text.lower():
            continue  # a template of SQL or code has no HTML to escape
        if module is not None and rule and (module.shown, line, rule) not in told:
            told.add((module.shown, line, rule))
            message = f"{hit['message'].rstrip('.')} ({hit['code']})."
            report.add(rule, module.path, line, message, column=hit["location"]["column"], severity=severity)


# Authentication


def authentication(report: Report, project: Project, routes: Routes) -> None:
    guarded = {id(r): guards(routes, r) for r in routes.routes}
    limited = any(isinstance(n, (ast.Import, ast.ImportFrom)) and imports_limiter(n) for m in project.modules for n in m.nodes)
    for route in routes.routes:
        path = routes.full_path(route)
        if (
            not limited
            and "post" in route.methods
            and re.search(r"login|token|sign_?in", path + route.function.name, re.I)
            and not guarded[id(route)]
        ):
            report.add(
                "SEC006", route.module.path, route.line, f"`{route.function.name}` ({path}) has no rate limit in this project."
            )
        peers = [r for r in routes.routes if app_of(r.owner) is app_of(route.owner)]
        if not any(guarded[id(r)] for r in peers) or route.methods == ("websocket",):
            continue
        if not guarded[id(route)]:
            if not (routes.complete or route.owner.parents or route.owner.is_app):
                continue  # included by code that was not followed, with what dependencies nobody knows
            if not PUBLIC.search(path + " " + route.function.name) and path.strip("/") and not middleware(project):
                sure = CHANGES & set(route.methods) and routes.complete and not conditional(route.owner)
                report.add(
                    "SEC001",
                    route.module.path,
                    route.line,
                    f"`{route.function.name}` ({path or '?'}) has no authentication, and other routes have.",
                    severity=None if sure else "warning",
                )
        elif CHANGES & set(route.methods) and uses_scopes(routes) and not scoped(routes, route):
            report.add(
                "SEC002",
                route.module.path,
                route.line,
                f"`{route.function.name}` changes data and asks for no scope, as others do.",
            )


def app_of(owner: Owner) -> Owner | None:
    """The app that serves a router in the end; None where no app is seen to include it."""
    for _ in range(12):
        if owner.is_app or not owner.parents:
            break
        owner = owner.parents[0][0]
    return owner if owner.is_app else None


def imports_limiter(node: ast.Import | ast.ImportFrom) -> bool:
    names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    return any(
        n.partition(".")[0] in LIMITERS or "rate_limit" in n or "ratelimit" in n or "limiter" in n
        for n in [*names, *(a.name for a in node.names)]
    )


def guards(routes: Routes, route: Route) -> bool:
    for module, depends in routes.above(route):
        if (module.qualify(depends.func) or "").endswith("Security"):
            return True
        for _, name, _ in routes.closure(module, depends):
            if AUTH.search(name.rpartition(".")[2]) or ".security." in name:
                return True
    # An endpoint may look at the request itself, and a decorator may stand in front of it.
    own = [ast.unparse(d) for d in route.function.decorator_list if d is not route.decorator]
    words = [ast.unparse(n.func) for n in own_nodes(route.function) if isinstance(n, ast.Call)]
    annotations = [ast.unparse(a.annotation) for a, _ in parameters(route.function) if a.annotation is not None]
    return (
        any(AUTH.search(w) for w in own)
        or any(
            re.search(r"(authenticate|verify|authori[sz]e|check_(token|access|permission)|compare_digest)", w, re.I)
            for w in words
        )
        or any(re.search(r"CurrentUser|Auth|Principal|CurrentActive", a) for a in annotations)
    )


def middleware(project: Project) -> bool:
    for module in project.modules:
        for call in module.calls():
            if (
                isinstance(call.func, ast.Attribute)
                and call.func.attr == "add_middleware"
                and call.args
                and re.search(r"auth", ast.unparse(call.args[0]), re.I)
            ):
                return True
    return False


def conditional(owner: Owner) -> bool:
    """Whether a router is included only under an `if`: its routes may never be served."""
    return owner.conditional or any(conditional(parent) for parent, _, _ in owner.parents)


def uses_scopes(routes: Routes) -> bool:
    return any(scoped(routes, r) for r in routes.routes)


def scoped(routes: Routes, route: Route) -> bool:
    return any(keyword(d, "scopes") is not None for _, d in routes.above(route))


# One call


def one_call(
    report: Report, module: Module, call: ast.Call, route: Route | None, function: ast.AST | None, guarding: bool
) -> None:
    name = module.qualify(call.func) or ""
    last = call.func.attr if isinstance(call.func, ast.Attribute) else name.rpartition(".")[2]
    place = {"path": module.path, "line": call.lineno, "column": call.col_offset + 1}
    if name in ("jwt.decode", "jose.jwt.decode"):
        for why in token_faults(module, call):
            # python-jose takes the header's algorithm then, but none that needs no key; PyJWT refuses the call.
            mild = name.startswith("jose") and why.startswith("no algorithms")
            # Outside of what guards a route, an unverified look may only ask who is to verify (the issuer, the key's id).
            mild = mild or ("not verified" in why and not guarding)
            report.add("SEC003", **place, message=why, severity="warning" if mild else None)
    elif (
        name in ("jwt.encode", "jose.jwt.encode")
        and len(call.args) > 1
        and (key := constant_text(module, call.args[1])) is not None
    ):
        unsigned = not key or (text(keyword(call, "algorithm")) or "").lower() == "none"
        why = (
            "the token is signed by nobody." if unsigned else f"the signing key is written in the source ({len(key)} characters)."
        )
        report.add("SEC003", **place, message=why)
    if last == "add_middleware" and call.args and "CORS" in ast.unparse(call.args[0]):
        origins, regex, credentials = (
            keyword(call, "allow_origins"),
            keyword(call, "allow_origin_regex"),
            keyword(call, "allow_credentials"),
        )
        every = (isinstance(origins, (ast.List, ast.Tuple)) and any(text(e) == "*" for e in origins.elts)) or text(regex) in (
            ".*",
            "^.*$",
        )
        if every and isinstance(credentials, ast.Constant) and credentials.value is True:
            report.add("SEC004", **place)
    if name in ("fastapi.FastAPI", "starlette.applications.Starlette") and is_true(keyword(call, "debug")):
        report.add("SEC005", **place, message="debug=True shows the source and variables of each failure to the client.")
    if name == "uvicorn.run" and is_true(keyword(call, "reload")):
        report.add("SEC005", **place, message="uvicorn.run(reload=True).", severity="warning")
    if last in EXECUTE and call.args:
        injection(report, module, call, route, function)
    unsafe(report, module, call, name, last, route, place)
    if route is not None and tainted(module, call, route, name, last):
        rule = "SEC010" if HTTP.match(name) else "SEC009"
        report.add(rule, **place, message=f"{name or last} takes a value of the request of `{route.function.name}`.")
    if (
        name in ("hashlib.md5", "hashlib.sha1", "hashlib.sha256")
        and call.args
        and re.search(r"passw|passwd|pwd", ast.unparse(call.args[0]), re.I)
    ):
        report.add("SEC014", **place, message=f"{name} of a password.")
    if last == "set_cookie":
        cookie = text(call.args[0] if call.args else keyword(call, "key")) or ""
        lacking = [w for w in ("secure", "httponly", "samesite") if keyword(call, w) is None]
        if lacking and re.search(r"sess|token|auth|jwt|sid", cookie, re.I) and not any(k.arg is None for k in call.keywords):
            report.add("SEC015", **place, message=f"cookie {cookie!r} without {', '.join(lacking)}.")
    if (
        name in ("strawberry.Schema", "strawberry.schema.Schema")
        and not re.search(r"Limiter", ast.unparse(call))
        and not isinstance(keyword(call, "extensions"), ast.Name)
    ):
        report.add("SEC016", **place)
    if LOG.search(ast.unparse(call.func)):
        for value in [*call.args, *(k.value for k in call.keywords)]:
            for node in ast.walk(value):
                word = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
                if (
                    SECRET_NAME.search(word)
                    and (module.parents.get(node) is call or not isinstance(module.parents.get(node), (ast.Call, ast.Attribute)))
                    and not re.search(r"type|count|url|expire|_id$|valid|name", word, re.I)
                ):
                    report.add("SEC017", **place, message=f"{word} is logged.")
                    break
    if name in ("cenote.load", "h2o.import_mojo", "h2o.upload_mojo") and not re.search(
        r"sha256|digest|manifest|verify_model|signed", ast.unparse(function) if function is not None else "", re.I
    ):
        report.add("SEC018", **place, message=f"{name} without a check of digest or signature.")


def is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def constant_text(module: Module, node: ast.expr) -> str | None:
    """The text that an expression is in this very file: a literal, or a module constant that is one."""
    if isinstance(node, ast.Name):
        bound = module.scopes[module.tree].names.get(node.id, [])
        values = [module.parents[b].value for b in bound if isinstance(module.parents.get(b), ast.Assign)]  # type: ignore[attr-defined]
        node = values[0] if len(values) == 1 == len(bound) else node
    return text(node)


def token_faults(module: Module, call: ast.Call) -> Iterator[str]:
    options, algorithms = keyword(call, "options"), keyword(call, "algorithms") or (call.args[2] if len(call.args) > 2 else None)
    off = isinstance(options, ast.Dict) and any(
        text(k) == "verify_signature" and isinstance(v, ast.Constant) and v.value is False
        for k, v in zip(options.keys, options.values, strict=True)
    )
    if off:
        yield "the signature is not verified."
    elif algorithms is None and not any(k.arg is None for k in call.keywords):
        yield "no algorithms= is given."
    if isinstance(algorithms, ast.List) and any((text(a) or "").lower() == "none" for a in algorithms.elts):
        yield "the algorithm 'none' is accepted."
    key = call.args[1] if len(call.args) > 1 else keyword(call, "key")
    if key is not None and not off and (value := constant_text(module, key)) and "BEGIN PUBLIC KEY" not in value:
        yield f"the key is written in the source ({len(value)} characters)."


def injection(report: Report, module: Module, call: ast.Call, route: Route | None, function: ast.AST | None) -> None:
    query = call.args[0]
    if isinstance(query, ast.Name) and isinstance(function, FUNCTIONS):
        values = [
            n.value
            for n in own_nodes(function)
            if isinstance(n, ast.Assign) and any(isinstance(t, ast.Name) and t.id == query.id for t in n.targets)
        ]
        query = values[0] if len(values) == 1 else query
    parts: list[ast.expr] = []
    if isinstance(query, ast.JoinedStr):
        parts = [v.value for v in query.values if isinstance(v, ast.FormattedValue)]
    elif isinstance(query, ast.BinOp) and isinstance(query.op, (ast.Mod, ast.Add)):
        parts = [
            n
            for n in ast.walk(query)
            if isinstance(n, (ast.Name, ast.Attribute)) and not isinstance(module.parents.get(n), ast.Attribute)
        ]
    elif isinstance(query, ast.Call) and isinstance(query.func, ast.Attribute) and query.func.attr == "format":
        parts = [*query.args, *(k.value for k in query.keywords)]
    words = " ".join(str(n.value) for n in ast.walk(query) if isinstance(n, ast.Constant) and isinstance(n.value, str))
    if not parts or not SQL.search(words):
        return
    given = {a.arg for a, _ in parameters(function)} - {"self", "cls"} if isinstance(function, FUNCTIONS) else set()
    foreign = [
        p for p in parts if any(isinstance(n, ast.Name) and n.id in given for n in ast.walk(p)) and not isinstance(p, ast.Call)
    ]
    if foreign:
        sure = route is not None and any(
            is_text(route, n.id) for p in foreign for n in ast.walk(p) if isinstance(n, ast.Name) and n.id in given
        )
        report.add(
            "SEC007",
            module.path,
            call.lineno,
            f"{ast.unparse(foreign[0])} is put into SQL.",
            column=call.col_offset + 1,
            severity=None if sure else "warning",
        )


def is_text(route: Route, name: str) -> bool:
    """Whether a parameter of a handler is free text (or untyped), rather than a number, an enumeration or a dependency."""
    for argument, default in parameters(route.function):
        if argument.arg == name:
            kind = ast.unparse(argument.annotation) if argument.annotation is not None else "str"
            depends = isinstance(default, ast.Call) and "Depends" in ast.unparse(default.func)
            return (
                bool(re.match(r"(typing\.)?(Annotated\[)?(Optional\[)?(str|HttpUrl|AnyHttpUrl|AnyUrl|Any)\b", kind))
                and not depends
                and "Depends" not in kind
                and "pattern" not in kind
            )
    return False


def unsafe(
    report: Report, module: Module, call: ast.Call, name: str, last: str, route: Route | None, place: dict[str, object]
) -> None:
    literal = bool(call.args) and all(isinstance(a, ast.Constant) for a in call.args[:1])
    if name in ("pickle.loads", "pickle.load", "cloudpickle.loads", "dill.loads", "marshal.loads"):
        report.add(
            "SEC008", **place, message=f"{name} runs whatever its input says.", severity=None if route is not None else "warning"
        )  # type: ignore[arg-type]
    elif name in ("yaml.load", "yaml.unsafe_load", "yaml.full_load") and "Safe" not in ast.unparse(call):
        report.add(
            "SEC008", **place, message=f"{name} builds any object.", severity=None if name != "yaml.full_load" else "warning"
        )  # type: ignore[arg-type]
    elif name in ("builtins.eval", "builtins.exec") and not literal:
        report.add(
            "SEC008", **place, message=f"{name.rpartition('.')[2]} of a value.", severity=None if route is not None else "warning"
        )  # type: ignore[arg-type]
    elif (name.startswith("subprocess.") and is_true(keyword(call, "shell"))) or name in ("os.system", "os.popen"):
        report.add("SEC008", **place, message=f"{name} with a shell.", severity="warning" if literal or route is None else None)  # type: ignore[arg-type]


def tainted(module: Module, call: ast.Call, route: Route, name: str, last: str) -> bool:
    """Whether the first argument is, or directly holds, a text parameter of the handler."""
    path_like = name in (
        "builtins.open",
        "os.remove",
        "os.unlink",
        "shutil.rmtree",
        "aiofiles.open",
        "fastapi.responses.FileResponse",
        "starlette.responses.FileResponse",
    )
    if not (path_like or HTTP.match(name)) or not call.args:
        return False
    first = keyword(call, "url") or call.args[1 if last in ("request", "stream") and len(call.args) > 1 else 0]
    if path_like and re.search(
        r"is_relative_to|secure_filename|safe_join|relative_to\(|\.startswith\(|realpath|basename|\.name\b| not in | in ",
        ast.unparse(route.function),
    ):
        return False
    if isinstance(first, ast.Name) and not is_text(route, first.id):
        values = [
            n.value
            for n in own_nodes(route.function)
            if isinstance(n, ast.Assign) and any(isinstance(t, ast.Name) and t.id == first.id for t in n.targets)
        ]
        first = values[0] if len(values) == 1 else first
    if HTTP.match(name):  # only the host matters: the parameter must stand at the beginning
        head = first.values[0] if isinstance(first, ast.JoinedStr) and first.values else first
        head = head.value if isinstance(head, ast.FormattedValue) else head
        if isinstance(head, ast.Call) and ast.unparse(head.func) == "str" and head.args:
            head = head.args[0]
        return isinstance(head, ast.Name) and is_text(route, head.id)
    return any(
        isinstance(n, ast.Name) and is_text(route, n.id) and not isinstance(module.parents.get(n), ast.Subscript)
        for n in ast.walk(first)
    )


def leaks(report: Report, module: Module, handler: ast.ExceptHandler) -> None:
    kind = ast.unparse(handler.type) if handler.type is not None else "Exception"
    if kind not in ("Exception", "BaseException"):
        return
    for node in ast.walk(handler):
        if isinstance(node, ast.Call) and (module.qualify(node.func) or "").endswith(("HTTPException", "JSONResponse")):
            values = [*node.args, *(k.value for k in node.keywords)]
            if any(isinstance(n, ast.Name) and n.id == handler.name for v in values for n in ast.walk(v)):
                report.add("SEC011", module.path, node.lineno)


def bodies(report: Report, project: Project, routes: Routes) -> None:
    seen: set[str] = set()
    for route in routes.routes:
        for argument, _ in parameters(route.function):
            name = route.module.qualify(argument.annotation) if argument.annotation is not None else None
            found = project.classes.get(name or "")
            if found is None or name in seen or not CHANGES & set(route.methods):
                continue
            seen.add(name or "")
            module, node = found
            if is_model(project, module, node) and not extra_decided(project, module, node):
                report.add("SEC013", module.path, node.lineno, f"{node.name} is a request body and lets unknown fields pass.")
            for item in node.body:
                if (
                    isinstance(item, ast.AnnAssign)
                    and re.match(r"(typing\.)?[Ll]ist\[", ast.unparse(item.annotation))
                    and "max_length" not in ast.unparse(item)
                ):
                    report.add(
                        "SEC012", module.path, item.lineno, f"{ast.unparse(item.target)} of {node.name} has no greatest length."
                    )


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
