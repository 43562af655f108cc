"""FastAPI source -> its routes: paths, methods, handlers, and every dependency that stands before a handler.

In goes a `Project`, out come `Route`s with the dependencies of the app, the routers, `include_router` calls, decorators and
parameters already gathered. What is made at run time (a loop over routers, a factory with arguments) is left out, and `complete` says so.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from _pysource import FUNCTIONS, Function, Module, Project

MODEL = ("pydantic.BaseModel", "sqlmodel.SQLModel")
VERBS = frozenset({"get", "post", "put", "patch", "delete", "head", "options", "trace", "api_route", "websocket"})
APPS = ("fastapi.FastAPI()", "fastapi.applications.FastAPI()")
ROUTERS = ("fastapi.APIRouter()", "fastapi.routing.APIRouter()")
DEPENDS = (
    "fastapi.Depends",
    "fastapi.Security",
    "fastapi.param_functions.Depends",
    "fastapi.param_functions.Security",
    "fastapi.params.Depends",
    "fastapi.params.Security",
)


@dataclass
class Owner:
    """An app or a router: where it is made, its prefix and its dependencies."""

    module: Module
    call: ast.Call
    name: str
    prefix: str = ""
    depends: list[tuple[Module, ast.Call]] = field(default_factory=list)
    parents: list[tuple[Owner, str, list[tuple[Module, ast.Call]]]] = field(default_factory=list)
    is_app: bool = False
    conditional: bool = False  # included only under an `if`


@dataclass
class Route:
    module: Module
    function: Function
    decorator: ast.Call
    methods: tuple[str, ...]
    path: str | None
    owner: Owner
    depends: list[tuple[Module, ast.Call]]

    @property
    def line(self) -> int:
        return self.function.lineno


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((k.value for k in call.keywords if k.arg == name), None)


def text(node: ast.AST | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def is_depends(module: Module, node: ast.AST | None) -> bool:
    return isinstance(node, ast.Call) and module.qualify(node.func) in DEPENDS


def parameters(function: Function) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    """Each parameter with its default."""
    a = function.args
    positional = [*a.posonlyargs, *a.args]
    yield from zip(positional, [None] * (len(positional) - len(a.defaults)) + list(a.defaults), strict=True)
    yield from zip(a.kwonlyargs, a.kw_defaults, strict=True)


def depends_of(module: Module, function: Function) -> Iterator[ast.Call]:
    """The dependencies that a function takes by its parameters: defaults and `Annotated[...]`, also through an alias."""
    for argument, default in parameters(function):
        if is_depends(module, default):
            yield default  # type: ignore[misc]
        if argument.annotation is not None:
            yield from (call for _, call in annotated(module, argument.annotation))


def annotated(module: Module, annotation: ast.expr, depth: int = 0) -> Iterator[tuple[Module, ast.Call]]:
    if depth > 4:
        return
    if isinstance(annotation, ast.Subscript) and (module.qualify(annotation.value) or "").endswith("Annotated"):
        elements = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        for element in elements:
            if is_depends(module, element):
                yield module, element  # type: ignore[misc]
    elif isinstance(annotation, ast.Name):
        found = _definition(module, annotation.id)
        if found is not None and not isinstance(found[1], ast.Name):
            yield from annotated(*found, depth + 1)


def _definition(module: Module, name: str, depth: int = 0) -> tuple[Module, ast.expr] | None:
    """The expression that a module-level name, here or imported from the project, is assigned."""
    scope = module.scopes[module.tree]
    for node in scope.names.get(name, []):
        holder = module.parents.get(node)
        if isinstance(holder, (ast.Assign, ast.AnnAssign)) and holder.value is not None:
            return module, holder.value
        if isinstance(holder, ast.TypeAlias if hasattr(ast, "TypeAlias") else ()):
            return module, holder.value  # type: ignore[union-attr]
        if isinstance(node, ast.ImportFrom) and module.project and depth < 6:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    home = module.project.find(module.absolute(node))
                    if home is not None and home is not module:
                        return _definition(home, alias.name, depth + 1)
    return None


class Routes:
    """All routes of a project."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.owners: dict[str, Owner] = {}
        self.routes: list[Route] = []
        self.complete = True
        for module in project.modules:
            for call in module.calls():
                self._owner(module, call)
        for module in project.modules:
            for call in module.calls():
                self._include(module, call)
        for module in project.modules:
            for node in module.nodes:
                if isinstance(node, FUNCTIONS):
                    self._routes(module, node)

    def _kind(self, made: str, depth: int = 0) -> str:
        """FastAPI's own class where a project has a subclass of it."""
        found = self.project.classes.get(made.removesuffix("()"))
        for base in found[1].bases if found and depth < 6 else ():
            kind = self._kind(f"{found[0].qualify(base)}()", depth + 1)
            if kind in (*APPS, *ROUTERS):
                return kind
        return made

    def _owner(self, module: Module, call: ast.Call) -> None:
        made = self._kind(f"{module.qualify(call.func)}()")
        if ast.unparse(call.func).rpartition(".")[2] == "APIRouter":
            made = ROUTERS[0]  # also one that a project's own factory has made
        holder = module.parents.get(call)
        if made not in (*APPS, *ROUTERS) or not isinstance(holder, (ast.Assign, ast.AnnAssign)):
            return
        target = holder.targets[0] if isinstance(holder, ast.Assign) else holder.target
        name = f"{module.dotted}.{ast.unparse(target)}"
        owner = Owner(module, call, name, text(keyword(call, "prefix")) or "", is_app=made in APPS)
        owner.depends = [(module, d) for d in _listed(module, keyword(call, "dependencies"))]
        self.owners[name] = owner

    def resolve(self, module: Module, node: ast.expr) -> Owner | None:
        """The app or router that an expression names, here or in another file of the project."""
        own = self.owners.get(f"{module.dotted}.{ast.unparse(node)}")
        if own is not None:
            return own
        if isinstance(node, ast.Name):
            scope = module.scopes[module.tree]
            for binding in scope.names.get(node.id, []):
                if isinstance(binding, ast.ImportFrom):
                    for alias in binding.names:
                        if (alias.asname or alias.name) == node.id:
                            home = self.project.find(module.absolute(binding))
                            if home is not None:
                                return self.owners.get(f"{home.dotted}.{alias.name}") or (
                                    self.resolve(home, ast.Name(alias.name)) if home is not module else None
                                )
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            scope = module.scopes[module.tree]
            for binding in scope.names.get(node.value.id, []):
                if isinstance(binding, ast.ImportFrom):
                    for alias in binding.names:
                        if (alias.asname or alias.name) == node.value.id:
                            home = self.project.find(f"{module.absolute(binding)}.{alias.name}")
                            if home is not None:
                                return self.owners.get(f"{home.dotted}.{node.attr}")
        return None

    def _include(self, module: Module, call: ast.Call) -> None:
        if not (isinstance(call.func, ast.Attribute) and call.func.attr == "include_router" and call.args):
            return
        parent, child = self.resolve(module, call.func.value), self.resolve(module, call.args[0])
        if child is None:
            self.complete = False
            return
        if parent is None:
            parent = Owner(module, call, "?", is_app=False)
        at: ast.AST | None = call
        while at is not None and not isinstance(at, ast.If):
            at = module.parents.get(at)
        child.conditional = child.conditional or at is not None
        depends = [(module, d) for d in _listed(module, keyword(call, "dependencies"))]
        child.parents.append((parent, text(keyword(call, "prefix")) or "", depends))

    def _routes(self, module: Module, function: Function) -> None:
        for decorator in function.decorator_list:
            if not (
                isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute) and decorator.func.attr in VERBS
            ):
                continue
            owner = self.resolve(module, decorator.func.value)
            if owner is None:
                continue
            verb = decorator.func.attr
            listed = keyword(decorator, "methods")
            methods = (verb,)
            if verb == "api_route":
                methods = (
                    tuple(sorted((text(m) or "?").lower() for m in listed.elts))
                    if isinstance(listed, (ast.List, ast.Tuple))
                    else ("get",)
                )
            path = text(decorator.args[0] if decorator.args else keyword(decorator, "path"))
            depends = [(module, d) for d in depends_of(module, function)]
            depends += [(module, d) for d in _listed(module, keyword(decorator, "dependencies"))]
            self.routes.append(Route(module, function, decorator, methods, path, owner, depends))

    def above(self, route: Route) -> list[tuple[Module, ast.Call]]:
        """All dependencies before a handler. A router included twice counts those that each way has in common."""
        return route.depends + self._of(route.owner, ())

    def _of(self, owner: Owner, seen: tuple[int, ...]) -> list[tuple[Module, ast.Call]]:
        if id(owner) in seen or len(seen) > 12:
            return []
        ways = [depends + self._of(parent, (*seen, id(owner))) for parent, _, depends in owner.parents]
        common = min(ways, key=len) if ways else []
        return owner.depends + common

    def full_path(self, route: Route) -> str:
        prefix, owner, seen = route.owner.prefix, route.owner, 0
        while owner.parents and seen < 12:
            owner, included, _ = owner.parents[0]
            prefix = owner.prefix + included + prefix
            seen += 1
        return prefix + (route.path or "")

    def closure(
        self, module: Module, depends: ast.Call, depth: int = 0
    ) -> Iterator[tuple[Module, str, Function | ast.ClassDef | None]]:
        """A dependency's callable, and those it depends on in its turn: qualified name and definition where it is in the project."""
        target = depends.args[0] if depends.args else keyword(depends, "dependency")
        if target is None or depth > 6:
            return
        name = module.qualify(target.func if isinstance(target, ast.Call) else target) or ast.unparse(target)
        found = self.project.functions.get(name) or self.project.classes.get(name)
        yield (found[0] if found else module), name, (found[1] if found else None)
        if found:
            home, node = found
            inner = (
                node
                if isinstance(node, FUNCTIONS)
                else next((m for m in node.body if isinstance(m, FUNCTIONS) and m.name in ("__init__", "__call__")), None)
            )
            for function in [inner] if inner else []:
                for call in depends_of(home, function):
                    yield from self.closure(home, call, depth + 1)


def _listed(module: Module, node: ast.expr | None) -> Iterator[ast.Call]:
    if isinstance(node, (ast.List, ast.Tuple)):
        for element in node.elts:
            if is_depends(module, element):
                yield element  # type: ignore[misc]


def is_model(project: Project, module: Module, node: ast.ClassDef, depth: int = 0) -> bool:
    for base in node.bases:
        name = module.qualify(base) or ""
        if name in MODEL or (name in project.classes and depth < 8 and is_model(project, *project.classes[name], depth + 1)):
            return True
    return False


def extra_decided(project: Project, module: Module, node: ast.ClassDef, depth: int = 0) -> bool:
    """Whether a model, or one it inherits from, decides what unknown fields are."""
    for statement in node.body:
        if (
            isinstance(statement, (ast.Assign, ast.AnnAssign))
            and "model_config" in ast.unparse(statement)
            and "extra" in ast.unparse(statement)
        ):
            return True
    if any(k.arg == "extra" for k in node.keywords):
        return True
    bases = [project.classes.get(module.qualify(b) or "") for b in node.bases]
    return any(b is not None and depth < 8 and extra_decided(project, *b, depth + 1) for b in bases)
