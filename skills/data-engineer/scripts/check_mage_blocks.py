# /// script
# requires-python = ">=3.11"
# dependencies = ["PyYAML>=6,<7"]
# ///
"""Checks the contracts of Mage blocks: what dynamic blocks return, what their children take, and what a block may do when it is run twice."""

from __future__ import annotations

import argparse
import ast
from pathlib import Path

from _mage import Block, Pipeline, decorated, pipelines, returns, value_of

from _report import Report, Rule, Tool, main

RULES = (
    Rule("BLOCK001", "error", "a dynamic block does not return a list of lists", "Return [items], or [items, metadata] with one dict of block_uuid for each item."),
    Rule("BLOCK002", "error", "metadata of a dynamic block without distinct block_uuid", "Give each item a dict with its own 'block_uuid'."),
    Rule("BLOCK003", "error", "reduce_output on a block that is no child of a dynamic block", "Set it on the child whose outputs are to be gathered."),
    Rule("BLOCK004", "warning", "the child of a dynamic block takes no input", "def run(item, *args, **kwargs): the first argument is this child's own item."),
    Rule("BLOCK005", "warning", "a block that does not take *args and **kwargs", "Mage passes run variables as keywords, and more inputs as the pipeline grows."),
    Rule("BLOCK006", "warning", "an exporter returns nothing and its result is used downstream", "Return what the next block needs, or drop the edge."),
    Rule("BLOCK007", "error", "a block's function takes fewer inputs than it has upstream blocks", "Take one argument for each upstream block, in their order, or *args."),
    Rule("BLOCK008", "warning", "the result depends on the clock, so that a backfill writes today's rows", "Use kwargs['execution_date'], which a retry and a backfill keep."),
)  # fmt: skip
TOOL = Tool("check_mage_blocks", "1.0.0", __doc__ or "", RULES)
KINDS = ("data_loader", "transformer", "data_exporter", "custom", "sensor")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="+", metavar="pipeline_path", help="Mage projects, pipeline folders or metadata.yaml files"
    )
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="files or folders to leave out")


def check(args: argparse.Namespace, report: Report) -> None:
    for pipeline in pipelines(report, args.paths, args.exclude):
        for kind, _, message in pipeline.problems:
            report.skip(pipeline.path, f"{kind}: {message}")
        by_name = {b.uuid: b for b in pipeline.blocks}
        for block in pipeline.blocks:
            parents = [by_name[u] for u in block.upstream if u in by_name]
            child = any(p.dynamic for p in parents) or any(is_spawned(p, by_name) for p in parents)
            if block.setting.get("reduce_output") and not child:
                report.add("BLOCK003", pipeline.path, block.line, f"{block.uuid} has reduce_output and no dynamic parent.")
            if block.tree is not None and block.type in KINDS and block.path is not None:
                functions = decorated(block.tree, block.type)
                if len(functions) == 1:
                    contract(report, pipeline, block, functions[0], child)


def is_spawned(block: Block, by_name: dict[str, Block], depth: int = 0) -> bool:
    """A child of a dynamic block that is not reduced passes its many outputs on, one for each of its own children."""
    if depth > 50 or block.setting.get("reduce_output"):
        return False
    parents = [by_name[u] for u in block.upstream if u in by_name]
    return any(p.dynamic or is_spawned(p, by_name, depth + 1) for p in parents)


def contract(report: Report, pipeline: Pipeline, block: Block, function: ast.FunctionDef, child: bool) -> None:
    path = block.path
    assert path is not None
    a = function.args
    positional = [*a.posonlyargs, *a.args]
    if block.dynamic:
        dynamic(report, path, block, function)
    if child and not positional and a.vararg is None:
        report.add("BLOCK004", path, function.lineno, f"{function.name} takes no input and is run once an item.")
    elif len(positional) < len(block.upstream) and a.vararg is None:
        report.add(
            "BLOCK007",
            path,
            function.lineno,
            f"{function.name} takes {len(positional)} input(s) and {block.uuid} has {len(block.upstream)} upstream blocks.",
        )
    elif a.kwarg is None:
        report.add("BLOCK005", path, function.lineno, f"{function.name} takes no **kwargs.")
    if block.type == "data_exporter" and block.downstream and not any(v is not None for v in returns(function)):
        report.add("BLOCK006", path, function.lineno, f"{block.uuid} feeds {', '.join(block.downstream)} and returns nothing.")
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "datetime.now",
            "datetime.datetime.now",
            "datetime.utcnow",
            "datetime.datetime.utcnow",
            "date.today",
            "datetime.date.today",
            "pd.Timestamp.now",
        ):
            report.add("BLOCK008", path, node.lineno, f"{block.uuid} asks the clock.")


def dynamic(report: Report, path: Path, block: Block, function: ast.FunctionDef) -> None:
    found = returns(function)
    if not found:
        report.add("BLOCK001", path, function.lineno, f"{block.uuid} is dynamic and returns nothing.")
    for node in found:
        value = value_of(function, node)
        line = node.lineno if node is not None else function.lineno
        if isinstance(value, (ast.Dict, ast.Constant, ast.DictComp, ast.JoinedStr)) or node is None:
            report.add(
                "BLOCK001",
                path,
                line,
                f"{block.uuid} is dynamic and returns {type(value).__name__.lower() if value is not None else 'nothing'}.",
            )
            continue
        if isinstance(value, ast.ListComp):
            report.add(
                "BLOCK001",
                path,
                line,
                f"{block.uuid} returns the items themselves; they must stand in a list of one or two lists.",
            )
            continue
        if not isinstance(value, ast.List):
            continue
        inner = [value_of(function, e) for e in value.elts]
        if len(value.elts) not in (1, 2) or any(isinstance(e, (ast.Constant, ast.Dict)) for e in inner):
            report.add(
                "BLOCK001", path, line, f"{block.uuid} returns a list of {len(value.elts)}; one or two lists are expected."
            )
        elif len(inner) == 2:
            distinct(report, path, block, inner[1], line)


def distinct(report: Report, path: Path, block: Block, node: ast.expr | None, line: int) -> None:
    if isinstance(node, ast.ListComp) and isinstance(node.elt, ast.Dict):
        value = dict(zip([ast.unparse(k) if k else "" for k in node.elt.keys], node.elt.values, strict=True)).get("'block_uuid'")
        if value is None or isinstance(value, ast.Constant):
            report.add(
                "BLOCK002",
                path,
                line,
                f"{block.uuid}: {'no block_uuid' if value is None else 'each child has the same block_uuid'}.",
            )
    elif isinstance(node, ast.List) and all(isinstance(e, ast.Dict) for e in node.elts):
        names = [
            ast.unparse(v)
            for e in node.elts
            if isinstance(e, ast.Dict)
            for k, v in zip(e.keys, e.values, strict=True)
            if k is not None and ast.unparse(k) == "'block_uuid'"
        ]
        if len(names) < len(node.elts) or len(set(names)) < len(names):
            report.add("BLOCK002", path, line, f"{block.uuid}: block_uuid is missing or stands twice.")


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
