"""Python source -> trees with resolved names: what a call's function really is, across aliases, instances and project files.

In go files, out come `Module` objects whose `qualify(node)` gives a dotted name such as `time.sleep`, `requests.Session().get` (a
method of an instance) or `app.db.load` (a function of the project). A name that is bound twice to different things has no
answer: None, so that a rule stays silent where it cannot know. Only the standard library's parser is used.
"""

from __future__ import annotations

import ast
import builtins
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from _report import Report, files, shown

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.Module)
BUILTINS = frozenset(dir(builtins))
TYPE_WRAPPERS = frozenset({"Optional", "Annotated", "typing.Optional", "typing.Annotated", "typing_extensions.Annotated"})


@dataclass
class Scope:
    node: ast.AST
    parent: Scope | None
    names: dict[str, list[ast.AST]] = field(default_factory=dict)


class Module:
    """One parsed file. `parent` of any node, its enclosing function, and qualified names are looked up here."""

    def __init__(self, path: Path, text: str, tree: ast.Module, dotted: str) -> None:
        self.path, self.text, self.tree, self.dotted = path, text, tree, dotted
        self.shown = shown(path)
        self.nodes = list(ast.walk(tree))
        self.project: Project | None = None
        self.parents: dict[ast.AST, ast.AST] = {}
        self.scopes: dict[ast.AST, Scope] = {}
        self.type_checking: set[ast.AST] = set()
        self._attributes: dict[ast.ClassDef, dict[str, list[ast.AST]]] = {}
        self._bind(tree, Scope(tree, None))
        self._busy: set[tuple[str, int]] = set()

    def _bind(self, root: ast.AST, scope: Scope) -> None:
        self.scopes[root] = scope
        stack: list[tuple[ast.AST, Scope]] = [(child, scope) for child in reversed(list(ast.iter_child_nodes(root)))]
        for child, _ in stack:
            self.parents[child] = root
        while stack:
            node, here = stack.pop()
            self._note(node, here)
            inner = here
            if isinstance(node, SCOPES):
                inner = self.scopes[node] = Scope(node, here)
            if isinstance(node, ast.If) and _names_type_checking(node.test):
                self.type_checking.update(n for stmt in node.body for n in ast.walk(stmt))
            for name, value in ast.iter_fields(node):
                children = value if isinstance(value, list) else [value]
                outside = inner is not here and name in ("decorator_list", "returns", "bases", "keywords")
                for child in children:
                    if isinstance(child, ast.AST):
                        self.parents[child] = node
                        stack.append((child, here if outside else inner))

    def _note(self, node: ast.AST, scope: Scope) -> None:
        def bind(name: str, to: ast.AST) -> None:
            scope.names.setdefault(name, []).append(to)

        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            bind(node.name, node)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                bind(
                    alias.asname or alias.name.split(".")[0] if isinstance(node, ast.Import) else alias.asname or alias.name, node
                )
        elif isinstance(node, ast.arg):
            bind(node.arg, node)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
            bind(node.id, node)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bind(node.name, node)

    def function_of(self, node: ast.AST) -> ast.AST | None:
        """The innermost function or lambda that runs `node`; None at module or class level."""
        child, at = node, self.parents.get(node)
        while at is not None:
            if isinstance(at, (*FUNCTIONS, ast.Lambda)) and not (
                isinstance(at, FUNCTIONS) and (child in at.decorator_list or child is at.returns or child is at.args)
            ):
                return at
            child, at = at, self.parents.get(at)
        return None

    def class_of(self, node: ast.AST) -> ast.ClassDef | None:
        """The class whose method encloses `node`."""
        at: ast.AST | None = node
        while at is not None and not isinstance(at, ast.ClassDef):
            at = self.parents.get(at)
        return at

    def awaited(self, node: ast.AST) -> bool:
        return isinstance(self.parents.get(node), ast.Await)

    def scope_of(self, node: ast.AST) -> Scope:
        at: ast.AST | None = node
        while at is not None and at not in self.scopes:
            at = self.parents.get(at)
        return self.scopes[at if at is not None else self.tree]

    def qualify(self, node: ast.AST | None, depth: int = 0) -> str | None:
        """The dotted name of an expression, with `()` after each call; None where it cannot be known."""
        if node is None or depth > 24:
            return None
        if isinstance(node, ast.Name):
            return self._lookup(node.id, node, depth)
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                return self._attribute_of_self(node, depth)
            base = self.qualify(node.value, depth + 1)
            return self._canonical(f"{base}.{node.attr}", depth) if base else None
        if isinstance(node, ast.Call):
            base = self.qualify(node.func, depth + 1)
            return f"{base}()" if base else None
        if isinstance(node, (ast.Await, ast.NamedExpr)):
            return self.qualify(node.value, depth + 1)
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
            return f"builtins.{type(node.value).__name__}()"
        return None

    def annotation(self, node: ast.AST | None, depth: int = 0) -> str | None:
        """The instance that an annotation promises: `Session` -> `requests.Session()`."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                node = ast.copy_location(ast.parse(node.value, mode="eval").body, node)
            except SyntaxError:
                return None
            if isinstance(node, ast.Name):
                return self._instance(self._lookup(node.id, self.tree, depth))
            return None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            sides = [s for s in (node.left, node.right) if not (isinstance(s, ast.Constant) and s.value is None)]
            return self.annotation(sides[0], depth) if len(sides) == 1 else None
        if isinstance(node, ast.Subscript):
            if self.qualify(node.value, depth) in TYPE_WRAPPERS:
                inner = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) and node.slice.elts else node.slice
                return self.annotation(inner, depth)
            return None
        return self._instance(self.qualify(node, depth))

    @staticmethod
    def _instance(name: str | None) -> str | None:
        return f"{name}()" if name and not name.endswith("()") else None

    def _lookup(self, name: str, at: ast.AST, depth: int) -> str | None:
        scope: Scope | None = self.scope_of(at)
        first = True
        while scope is not None:
            if name in scope.names and (first or not isinstance(scope.node, ast.ClassDef)):
                return self.binding(scope, name, depth)
            first = False
            scope = scope.parent
        if name in BUILTINS:
            return f"builtins.{name}"
        return None

    def binding(self, scope: Scope, name: str, depth: int = 0) -> str | None:
        """What `name` is in `scope`, if all its bindings agree."""
        key = (name, id(scope))
        if key in self._busy or depth > 24:
            return None
        self._busy.add(key)
        try:
            found: set[str | None] = set()
            for node in scope.names[name]:
                value = self._bound(node, name, depth + 1)
                if value != "":
                    found.add(value)
            return found.pop() if len(found) == 1 else None
        finally:
            self._busy.discard(key)

    def _bound(self, node: ast.AST, name: str, depth: int) -> str | None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if (alias.asname or alias.name.split(".")[0]) == name:
                    return alias.name if alias.asname else alias.name.split(".")[0]
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return self._canonical(f"{self.absolute(node)}.{alias.name}", depth)
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            return f"{self.dotted}.{self.path_of(node)}"
        if isinstance(node, ast.arg):
            return self.annotation(node.annotation, depth)
        if not isinstance(node, ast.Name):
            return None
        holder = self.parents.get(node)
        if isinstance(holder, ast.Assign) and node in holder.targets:
            if isinstance(holder.value, ast.Constant) and holder.value.value is None:
                return ""
            return self.qualify(holder.value, depth)
        if isinstance(holder, ast.AnnAssign) and node is holder.target:
            if holder.value is not None and not (isinstance(holder.value, ast.Constant) and holder.value.value is None):
                return self.qualify(holder.value, depth) or self.annotation(holder.annotation, depth)
            return self.annotation(holder.annotation, depth)
        if isinstance(holder, ast.NamedExpr):
            return self.qualify(holder.value, depth)
        if isinstance(holder, ast.withitem):
            return self.qualify(holder.context_expr, depth)
        if isinstance(holder, ast.Delete):
            return ""
        return None

    def path_of(self, node: ast.AST) -> str:
        """A definition's path inside its module: `Class.method`."""
        parts: list[str] = []
        at: ast.AST | None = node
        while at is not None and not isinstance(at, ast.Module):
            if isinstance(at, (*FUNCTIONS, ast.ClassDef)):
                parts.append(at.name)
            at = self.parents.get(at)
        return ".".join(reversed(parts))

    def absolute(self, node: ast.ImportFrom) -> str:
        """The module that a `from ... import` names, with its leading dots resolved."""
        if not node.level:
            return node.module or ""
        package = self.dotted.split(".")
        drop = node.level - (1 if self.path.name == "__init__.py" else 0)
        base = package[: len(package) - drop] if drop else package
        return ".".join([*base, *([node.module] if node.module else [])])

    def _attribute_of_self(self, node: ast.Attribute, depth: int) -> str | None:
        owner = self.class_of(node)
        if owner is None:
            return None
        found: set[str | None] = set()
        for sub in self._members(owner).get(node.attr, ()):
            if isinstance(sub, FUNCTIONS):
                found.add(f"{self.dotted}.{self.path_of(sub)}")
            elif isinstance(sub, ast.AnnAssign) and sub.value is None:
                found.add(self.annotation(sub.annotation, depth + 1))
            elif not (isinstance(sub.value, ast.Constant) and sub.value.value is None):  # type: ignore[attr-defined]
                found.add(self.qualify(sub.value, depth + 1))  # type: ignore[attr-defined]
        return found.pop() if len(found) == 1 else None

    def _members(self, owner: ast.ClassDef) -> dict[str, list[ast.AST]]:
        """What defines each attribute of a class: methods, `self.x = ...`, and annotations without a value."""
        if owner not in self._attributes:
            members: dict[str, list[ast.AST]] = {}
            for sub in ast.walk(owner):
                if isinstance(sub, FUNCTIONS) and self.parents.get(sub) is owner:
                    members.setdefault(sub.name, []).append(sub)
                elif isinstance(sub, ast.Assign | ast.AnnAssign) and sub.value is not None:
                    for target in sub.targets if isinstance(sub, ast.Assign) else [sub.target]:
                        if isinstance(target, ast.Attribute) and _is_self(target.value):
                            members.setdefault(target.attr, []).append(sub)
                elif isinstance(sub, ast.AnnAssign) and isinstance(sub.target, ast.Name):
                    members.setdefault(sub.target.id, []).append(sub)
            self._attributes[owner] = members
        return self._attributes[owner]

    def _canonical(self, name: str, depth: int) -> str:
        return (self.project.canonical(name, depth) if self.project else None) or name

    def calls(self, root: ast.AST | None = None) -> Iterator[ast.Call]:
        for node in ast.walk(root) if root else self.nodes:
            if isinstance(node, ast.Call):
                yield node


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _names_type_checking(test: ast.AST) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when `function` runs: its body without the bodies of functions and classes defined inside it."""
    root = isinstance(function, (*FUNCTIONS, ast.Module))
    stack: list[ast.AST] = list(reversed(function.body)) if root else [function]  # type: ignore[attr-defined]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, FUNCTIONS):
            stack.extend(reversed(node.decorator_list))
        elif not isinstance(node, ast.Lambda):
            stack.extend(reversed(list(ast.iter_child_nodes(node))))


class Project:
    """All modules of one run, so that a name imported from a sibling file is followed to what it is there."""

    def __init__(self, modules: Iterable[Module]) -> None:
        self.modules = list(modules)
        self.by_name: dict[str, Module] = {}
        self._by_end: dict[str, set[str]] = {}  # the last parts of a dotted name, two or more -> the modules that end so
        self.functions: dict[str, tuple[Module, Function]] = {}
        self.classes: dict[str, tuple[Module, ast.ClassDef]] = {}
        for module in self.modules:
            module.project = self
            self.by_name.setdefault(module.dotted, module)
            parts = module.dotted.split(".")
            for start in range(1, len(parts) - 1):
                self._by_end.setdefault(".".join(parts[start:]), set()).add(module.dotted)
            for node in module.nodes:
                name = f"{module.dotted}.{module.path_of(node)}" if isinstance(node, (*FUNCTIONS, ast.ClassDef)) else ""
                if isinstance(node, FUNCTIONS):
                    self.functions.setdefault(name, (module, node))
                elif isinstance(node, ast.ClassDef):
                    self.classes.setdefault(name, (module, node))

    def find(self, dotted: str) -> Module | None:
        """The module of this name, given whole, or by its last two parts or more where only one module ends so."""
        if dotted in self.by_name:
            return self.by_name[dotted]
        ends = self._by_end.get(dotted, ())
        return self.by_name[next(iter(ends))] if len(ends) == 1 else None

    def canonical(self, name: str, depth: int) -> str | None:
        """Follow a name of a project module to its own binding there."""
        if depth > 24:
            return None
        head, _, rest = name.partition("()")
        parts = head.split(".")
        for cut in range(len(parts) - 1, 0, -1):
            module = self.find(".".join(parts[:cut]))
            if module is None:
                continue
            scope = module.scopes[module.tree]
            if parts[cut] not in scope.names:
                return None
            found = module.binding(scope, parts[cut], depth + 1)
            if found is None:
                return None
            tail = "".join(f".{p}" for p in parts[cut + 1 :])
            return found + tail + ("()" + rest if _ else "")
        return None


def load(report: Report, targets: Iterable[str | Path], exclude: Iterable[str] = ()) -> Project:
    """Parse every Python file below the targets. A file that is not Python goes to `skipped`."""
    modules = []
    targets = list(targets)
    for path in files(report, targets, ["*.py"], exclude):
        text = report.read(path)
        if text is None:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(text, filename=str(path))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            running = ".".join(map(str, sys.version_info[:2]))
            report.skip(
                path,
                f"not Python {running} (for newer syntax, run this script by that Python): {error.__class__.__name__}: {error}",
            )
            continue
        report.scanned += 1
        modules.append(Module(path, text, tree, _dotted(path, targets)))
    return Project(modules)


def _dotted(path: Path, targets: list[str | Path]) -> str:
    for target in targets:
        root = Path(target)
        if root.is_dir() and path.is_relative_to(root):
            parts = list(path.relative_to(root).with_suffix("").parts)
            at = root.resolve()
            while (at / "__init__.py").exists() and at.parent != at:
                parts.insert(0, at.name)
                at = at.parent
            if parts and parts[-1] == "__init__":
                parts.pop()
            return ".".join(parts) or root.resolve().name
    return path.stem
