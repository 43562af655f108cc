"""Mage projects -> pipelines and blocks, read from YAML and Python source without importing Mage or running a block."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _manifests import Map, items, loader
from _report import Report, files, need

BLOCK_TYPES = frozenset({
    "callback", "conditional", "chart", "custom", "data_exporter", "data_loader", "dbt", "dynamic_child", "extension",
    "global_data_product", "hook", "markdown", "scratchpad", "sensor", "transformer", "group", "pipeline",
})  # fmt: skip
PIPELINE_TYPES = frozenset({"python", "integration", "databricks", "pyspark", "streaming", "standard_batch", "pi", "execution"})
FOLDERS = {"data_loader": "data_loaders", "data_exporter": "data_exporters", "transformer": "transformers", "sensor": "sensors", "custom": "custom",
           "scratchpad": "scratchpads", "callback": "callbacks", "conditional": "conditionals", "chart": "charts", "extension": "extensions"}  # fmt: skip
SUFFIXES = {"python": ".py", "sql": ".sql", "yaml": ".yaml", "r": ".r", "markdown": ".md"}


@dataclass
class Block:
    uuid: str
    type: str
    line: int
    language: str
    upstream: list[str]
    downstream: list[str]
    raw: Map
    path: Path | None = None
    tree: ast.Module | None = None
    text: str = ""

    @property
    def setting(self) -> dict[str, Any]:
        found = self.raw.get("configuration")
        return found if isinstance(found, dict) else {}

    @property
    def dynamic(self) -> bool:
        return bool(self.setting.get("dynamic"))


@dataclass
class Pipeline:
    path: Path  # its metadata.yaml
    project: Path
    data: Map
    blocks: list[Block] = field(default_factory=list)
    problems: list[tuple[str, int, str]] = field(default_factory=list)  # kind, line, message


def pipelines(report: Report, targets: list[str], exclude: list[str]) -> Iterator[Pipeline]:
    """Every pipeline below the targets: a project, a pipeline's folder, or its metadata.yaml."""
    yaml = need("yaml", "PyYAML>=6,<7")
    report.engines.append(f"PyYAML {yaml.__version__}")
    for path in files(report, targets, ["metadata.yaml", "metadata.yml"], exclude):
        if path.name not in ("metadata.yaml", "metadata.yml") or "pipelines" not in path.parts[:-1]:
            if path.parent.joinpath("pipelines").is_dir() and path.name.startswith("metadata"):
                continue  # the project's own
            if path.parent.parent.name != "pipelines" and "blocks" not in (text := report.read(path) or ""):
                if text or Path(str(targets[0])) == path:
                    report.skip(path, "not a pipeline's metadata.yaml")
                continue
        text = report.read(path)
        if text is None:
            continue
        if not text.strip():
            report.skip(path, "empty")
            continue
        at = path.resolve()
        project = next((p.parent for p in at.parents if p.name == "pipelines"), at.parent)
        report.scanned += 1
        try:
            data = yaml.load(text, Loader=loader(yaml))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            broken = Map()
            broken.lines = {}
            yield Pipeline(
                path, project, broken, problems=[("yaml", mark.line + 1 if mark else 1, " ".join(str(error).split())[:200])]
            )
            continue
        if not isinstance(data, Map) or not isinstance(data.get("blocks", []), list):
            broken = Map()
            broken.lines = {}
            yield Pipeline(path, project, broken, problems=[("yaml", 1, "no mapping with a list of blocks")])
            continue
        pipeline = Pipeline(path, project, data)
        for raw in [*items(data.get("blocks")), *items(data.get("callbacks")), *items(data.get("conditionals"))]:
            if isinstance(raw, Map):
                pipeline.blocks.append(_block(report, pipeline, raw))
            else:
                pipeline.problems.append(("yaml", data.at("blocks"), "a block that is no mapping"))
        yield pipeline


def _block(report: Report, pipeline: Pipeline, raw: Map) -> Block:
    language = str(raw.get("language") or "python")
    block = Block(
        str(raw.get("uuid", "")),
        str(raw.get("type", "")),
        raw.line,
        language,
        _names(raw.get("upstream_blocks")),
        _names(raw.get("downstream_blocks")),
        raw,
    )
    where = block.setting.get("file_path") or (block.setting.get("file_source") or {}).get("path")
    folder, suffix = FOLDERS.get(block.type), SUFFIXES.get(language)
    if isinstance(where, str):
        block.path = pipeline.project / where
        if not block.path.is_file() and (pipeline.project.parent / where).is_file():
            block.path = pipeline.project.parent / where
    elif folder and suffix and not raw.get("content") and not (raw.get("replicated_block")):
        block.path = pipeline.project / folder / (block.uuid + suffix)
    if raw.get("replicated_block") and folder and suffix:
        block.path = pipeline.project / folder / (str(raw["replicated_block"]) + suffix)
    if block.path is not None and block.path.is_file() and block.language == "python":
        block.text = report.read(block.path) or ""
        try:
            block.tree = ast.parse(block.text)
        except (SyntaxError, ValueError, RecursionError) as error:
            line = getattr(error, "lineno", 1) or 1
            pipeline.problems.append(("syntax", line, f"{block.path.name}: {error}"))
    return block


def _names(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list) else []


def decorated(tree: ast.Module, name: str) -> list[ast.FunctionDef]:
    """The functions under a decorator of Mage, however it was imported."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                bare = decorator.func if isinstance(decorator, ast.Call) else decorator
                if (isinstance(bare, ast.Name) and bare.id == name) or (isinstance(bare, ast.Attribute) and bare.attr == name):
                    found.append(node)
    return found


def returns(function: ast.FunctionDef) -> list[ast.expr | None]:
    """What a function's own return statements give."""
    out: list[ast.expr | None] = []
    stack: list[ast.AST] = list(function.body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Return):
            out.append(node.value)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            stack.extend(ast.iter_child_nodes(node))
    return out


def value_of(function: ast.FunctionDef, node: ast.expr | None) -> ast.expr | None:
    """An expression, followed through one assignment of the function."""
    if isinstance(node, ast.Name):
        values = [
            n.value
            for n in ast.walk(function)
            if isinstance(n, ast.Assign) and any(isinstance(t, ast.Name) and t.id == node.id for t in n.targets)
        ]
        return values[0] if len(values) == 1 else None
    return node
