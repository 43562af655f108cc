# /// script
# requires-python = ">=3.11"
# dependencies = ["ruff>=0.17,<1"]
# ///
"""Async Non-Blocking Radar: calls that stop the event loop, found in `async def` bodies and through the sync functions they call."""

from __future__ import annotations

import argparse
import ast
import sys

from _blocking import KINDS, Block, find, kind_of, second_opinion
from _pysource import Module, Project, load, own_nodes
from _report import Report, Rule, Tool, main

TITLES = {
    "sleep": "time.sleep in async code",
    "http": "synchronous HTTP or DNS in async code",
    "database": "synchronous database driver or ORM session in async code",
    "service": "synchronous Redis, Kafka or cloud client in async code",
    "file": "file I/O in async code",
    "process": "waiting for a process in async code",
    "cpu": "a long computation in async code",
    "thread": "waiting on a thread primitive in async code",
    "unpickle": "loading a model or a pickle in async code",
    "nested loop": "starting an event loop inside one",
}
RULES = [Rule(f"BLK{suffix}", severity, TITLES[kind], fix) for kind, (suffix, fix, severity) in KINDS.items()]
RULES += [
    Rule(
        "BLK011",
        "error",
        "an async function reaches a blocking call through sync functions",
        "Make the chain async, or hand its top to asyncio.to_thread.",
    ),
    Rule("BLK012", "warning", "polling in a loop with sleep", "Wait on an asyncio.Event, Condition or Queue."),
    Rule(
        "BLK013",
        "error",
        "sync `with` or `for` over a blocking client in async code",
        "Use the async client by `async with` or `async for`.",
    ),
    Rule(
        "BLK014",
        "error",
        "a constructor that blocks is called in async code",
        "Give the class an async factory, or build it in the lifespan by asyncio.to_thread.",
    ),
]
TOOL = Tool("detect_blocking_calls", "1.0.0", __doc__ or "", tuple(RULES))
BLOCKING_CLIENTS = ("requests.Session()", "requests.session()", "requests.get()", "httpx.Client()", "httpx.stream()", "psycopg2.connect()",
                    "psycopg.connect()", "sqlite3.connect()", "sqlalchemy.orm.Session()", "sqlmodel.Session()")  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", help="Python files or folders")
    parser.add_argument("--source-dir", action="append", default=[], metavar="DIR", help="a folder to scan (may be given again)")
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="GLOB", help="files or folders to leave out, e.g. 'tests'"
    )


def check(args: argparse.Namespace, report: Report) -> None:
    report.engines.append("python ast " + ".".join(map(str, sys.version_info[:2])))
    project = load(report, [*args.paths, *args.source_dir], args.exclude)
    blocks = find(project)
    for block in [*blocks, *second_opinion(report, project, blocks)]:
        report_block(report, block)
    for module in project.modules:
        for function in module.nodes:
            if isinstance(function, ast.AsyncFunctionDef):
                waits(report, project, module, function)
    report.soften()  # a test holds up nobody's request


def report_block(report: Report, block: Block) -> None:
    node = block.node
    where = f"`async def {block.function.name}`"
    if not block.chain:
        rule, message = f"BLK{block.suffix}", f"{block.name} blocks the event loop in {where}."
    elif block.chain[0].endswith("__init__"):
        rule = "BLK014"
        message = f"{where} builds an object whose constructor blocks: {' -> '.join((*block.chain, block.name))}."
    else:
        rule, message = "BLK011", f"{where} blocks through {' -> '.join((*block.chain, block.name))}."
    report.add(
        rule,
        block.module.path,
        node.lineno,
        message,
        column=node.col_offset + 1,
        fix=None if block.chain else block.fix,
        severity=block.severity,
    )


def waits(report: Report, project: Project, module: Module, function: ast.AsyncFunctionDef) -> None:
    for node in own_nodes(function):
        if isinstance(node, (ast.With, ast.For)):
            subjects = [item.context_expr for item in node.items] if isinstance(node, ast.With) else [node.iter]
            for subject in subjects:
                name = module.qualify(subject)
                if name in BLOCKING_CLIENTS and not (isinstance(subject, ast.Call) and kind_of(module, subject)):
                    report.add(
                        "BLK013",
                        module.path,
                        node.lineno,
                        f"{name} is used by a sync `{type(node).__name__.lower()}` in `async def {function.name}`.",
                        column=node.col_offset + 1,
                    )
        elif isinstance(node, ast.While) and sleeps_only(module, node):
            report.add(
                "BLK012",
                module.path,
                node.lineno,
                f"`async def {function.name}` polls: a loop around asyncio.sleep.",
                column=node.col_offset + 1,
            )


def sleeps_only(module: Module, loop: ast.While) -> bool:
    """A loop whose condition is the thing waited for, and whose body does nothing but sleep."""
    if isinstance(loop.test, ast.Constant) or len(loop.body) != 1 or not isinstance(loop.body[0], ast.Expr):
        return False
    value = loop.body[0].value
    return (
        isinstance(value, ast.Await)
        and isinstance(value.value, ast.Call)
        and module.qualify(value.value.func) in ("asyncio.sleep", "anyio.sleep", "trio.sleep")
    )


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
