"""Kubernetes and compose files -> plain data that remembers its lines, and one view of a container for both.

In go YAML files (by PyYAML), out come `Document`s; a file that is not YAML, or that repeats a key, goes to `skipped`, for what a
later key hides was never checked. Quantities are bytes and cores. Templates that are not yet YAML (Helm) must be rendered first.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _report import Report, files, need

POD_KINDS = frozenset({"Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"})
SERVING_KINDS = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"})
UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}
COMPOSE_UNITS = {"": 1, "b": 1, "k": 1 << 10, "kb": 1 << 10, "m": 1 << 20, "mb": 1 << 20, "g": 1 << 30, "gb": 1 << 30}


class Map(dict[Any, Any]):
    """A mapping that knows the line of itself and of each of its keys."""

    line: int = 0
    lines: dict[Any, int]

    def at(self, key: Any) -> int:
        return self.lines.get(key, self.line)


@dataclass
class Document:
    path: Path
    data: Map

    @property
    def kind(self) -> str:
        if "services" in self.data and "kind" not in self.data:
            return "compose"
        return str(self.data.get("kind", ""))

    @property
    def name(self) -> str:
        return str(child(self.data, "metadata").get("name", "")) or "?"


@dataclass
class Container:
    """What a container is told, whichever file tells it. `memory` is bytes, `cpu` is cores, None where not said."""

    document: Document
    name: str
    line: int
    image: str
    words: list[str]
    env: dict[str, str]
    memory: float | None
    memory_request: float | None
    cpu: float | None
    raw: Map
    init: bool = False
    pod: Map = field(default_factory=Map)


def child(data: Any, *keys: str) -> Map:
    """The mapping below `keys`, or an empty one."""
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    if isinstance(data, Map):
        return data
    empty = Map()
    empty.lines = {}
    return empty


def items(data: Any) -> list[Any]:
    return data if isinstance(data, list) else []


def loader(yaml: Any) -> Any:
    """A safe loader whose mappings are `Map` and which refuses a repeated key."""

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc, name-defined]
        pass

    def mapping(self: Any, node: Any) -> Iterator[Map]:
        out = Map()
        out.line, out.lines = node.start_mark.line + 1, {}
        yield out
        own = {id(k) for k, _ in node.value if k.tag != "tag:yaml.org,2002:merge"}
        self.flatten_mapping(node)
        for key, value in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, (str, int, float, bool, type(None))):
                raise yaml.constructor.ConstructorError(None, None, "a key that is not a scalar", key.start_mark)
            if id(key) in own and id(key) in {id(k) for k, _ in node.value} and name in out.lines and out.lines[name] > 0:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} is given twice", key.start_mark)
            out[name] = self.construct_object(value, deep=True)
            out.lines[name] = key.start_mark.line + 1 if id(key) in own else 0

    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    Loader.add_constructor("tag:yaml.org,2002:timestamp", yaml.SafeLoader.construct_yaml_str)
    Loader.add_multi_constructor("!", lambda self, suffix, node: None)  # other tools' tags (!Ref, !reset): no value to judge
    return Loader


def parse(yaml: Any, text: str) -> list[Any]:
    return list(yaml.load_all(text, Loader=loader(yaml)))


def documents(report: Report, targets: Iterable[str | Path], exclude: Iterable[str] = ()) -> list[Document]:
    """Every Kubernetes object and compose file below the targets; other YAML is passed over unless it was named itself."""
    yaml = need("yaml", "PyYAML>=6,<7")
    report.engines.append(f"PyYAML {yaml.__version__}")
    found: list[Document] = []
    named = {Path(t) for t in targets}
    templates: list[str] = []
    for path in files(report, targets, ["*.yaml", "*.yml"], exclude):
        text = report.read(path)
        if text is None:
            continue
        try:
            parsed = parse(yaml, text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            if "{{" in text and path not in named:
                templates.append(path.as_posix())  # Helm and its like: what it will say is not known before it is rendered
                continue
            report.skip(path, "not YAML: " + " ".join(str(error).split()))
            continue
        before = len(found)
        for data in parsed:
            for part in items(data.get("items")) if isinstance(data, Map) and data.get("kind") == "List" else [data]:
                if isinstance(part, Map) and ("kind" in part or isinstance(part.get("services"), Map)):
                    found.append(Document(path, part))
        if len(found) > before:
            report.scanned += 1
        elif path in named:
            report.skip(path, "neither a Kubernetes object nor a compose file")
    patches = {p for d in found for p in _patches(d)}
    parts = [
        d for d in found if d.path not in named and (d.path.resolve() in patches or "$patch" in d.data or "patch" in d.path.stem)
    ]
    if parts:
        # A patch is a piece of an object that stands elsewhere: by itself it lacks what it does not change.
        found = [d for d in found if d not in parts]
        report.partly(f"{len(parts)} kustomize patch(es) were passed over: check what `kustomize build` makes")
    if templates:
        what = "is a template" if len(templates) == 1 else f"are {len(templates)} templates"
        report.partly(f"there {what}, to be rendered first (helm template ...) and checked then: {', '.join(templates[:3])}")
    return found


def _patches(document: Document) -> Iterator[Path]:
    """The files that a kustomization names as patches."""
    if document.kind not in ("Kustomization", "Component"):
        return
    for item in [*items(document.data.get("patches")), *items(document.data.get("patchesStrategicMerge"))]:
        name = item.get("path") if isinstance(item, dict) else item
        if isinstance(name, str) and "\n" not in name:
            yield (document.path.parent / name).resolve()


def pod(document: Document) -> Map:
    """The pod specification inside any workload."""
    if document.kind == "Pod":
        return child(document.data, "spec")
    if document.kind == "CronJob":
        return child(document.data, "spec", "jobTemplate", "spec", "template", "spec")
    return child(document.data, "spec", "template", "spec") if document.kind in POD_KINDS else child(None)


def containers(document: Document) -> Iterator[Container]:
    if document.kind == "compose":
        for name, service in child(document.data, "services").items():
            if isinstance(service, Map):
                yield _compose(document, str(name), service)
        return
    spec = pod(document)
    for part in ("containers", "initContainers"):
        for raw in items(spec.get(part)):
            if isinstance(raw, Map):
                limits, requests = child(raw, "resources", "limits"), child(raw, "resources", "requests")
                env = {str(e.get("name")): str(e.get("value", "")) for e in items(raw.get("env")) if isinstance(e, dict)}
                yield Container(
                    document, str(raw.get("name", "?")), raw.line, str(raw.get("image", "")), _words(raw.get("command")) + _words(raw.get("args")),
                    env, quantity(limits.get("memory")), quantity(requests.get("memory")), quantity(limits.get("cpu")), raw, part == "initContainers", spec,
                )  # fmt: skip


def _compose(document: Document, name: str, service: Map) -> Container:
    env = service.get("environment")
    if isinstance(env, list):
        env = dict(str(e).partition("=")[::2] for e in env)
    limits = child(service, "deploy", "resources", "limits")
    memory = quantity(limits.get("memory", service.get("mem_limit")), COMPOSE_UNITS)
    request = quantity(
        child(service, "deploy", "resources", "reservations").get("memory", service.get("mem_reservation")), COMPOSE_UNITS
    )
    cpu = quantity(limits.get("cpus", service.get("cpus")))
    line = child(document.data, "services").at(name)
    words = _words(service.get("entrypoint")) + _words(service.get("command"))
    return Container(
        document,
        name,
        line,
        str(service.get("image", "")),
        words,
        {str(k): "" if v is None else str(v) for k, v in (env or {}).items()},
        memory,
        request,
        cpu,
        service,
    )


def _words(value: Any) -> list[str]:
    if isinstance(value, str):
        try:
            return shlex.split(value)
        except ValueError:
            return value.split()
    return [w for item in items(value) for w in ([str(item)] if " " not in str(item) else [str(item), *str(item).split()])]


def quantity(value: Any, units: dict[str, int] | None = None) -> float | None:
    """A quantity in bytes or cores; None where none is written or it is a `${VARIABLE}`."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    text = str(value or "").strip().lower() if units is not None else str(value or "").strip()
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    suffix = text[len(number) :]
    try:
        if units is None and suffix == "m":
            return float(number) / 1000
        return float(number) * (COMPOSE_UNITS if units is not None else UNITS)[suffix.lower()]
    except (ValueError, KeyError):
        return None


def image_name(image: str) -> tuple[str, str]:
    """The last part of an image's name and its tag ('' where there is none)."""
    bare = image.partition("@")[0]
    last = bare.rpartition("/")[2]
    name, _, tag = last.partition(":")
    return name, tag
