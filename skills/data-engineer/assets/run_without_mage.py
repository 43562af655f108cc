# /// script
# requires-python = ">=3.11"
# dependencies = ["PyYAML"]
# ///
"""Run a pipeline of a Mage project without Mage, for tests and laptops: the same files, in the order of their edges, in this process.

    python run_without_mage.py PROJECT PIPELINE [NAME=VALUE ...]

Decorators are identities. A dynamic block's items go to its child one by one; every block's @test runs. There are no retries, no
triggers and no stored variables: those are what Mage is for. Prints what the last blocks returned, as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import sys
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

KINDS = ("data_loader", "transformer", "data_exporter", "sensor", "custom")


def run(project: Path, name: str, variables: dict[str, Any]) -> dict[str, Any]:
    """The output of each block, by uuid. Blocks see the project as the current folder, as under Mage."""
    pipeline = yaml.safe_load((project / "pipelines" / name / "metadata.yaml").read_text())
    blocks = {block["uuid"]: block for block in pipeline["blocks"]}
    given = {"execution_date": datetime.now(UTC), **(pipeline.get("variables") or {}), **variables}
    outputs: dict[str, Any] = {}
    spread: set[str] = set()  # blocks whose output is a list with an item for each child
    os.chdir(project)
    for uuid in TopologicalSorter({uuid: block["upstream_blocks"] for uuid, block in blocks.items()}).static_order():
        block = blocks[uuid]
        inputs = [outputs[parent] for parent in block["upstream_blocks"]]
        function, tests = loaded(project / f"{block['type']}s" / f"{uuid}.py", block["type"])
        configuration = block.get("configuration") or {}
        dynamic = [parent for parent in block["upstream_blocks"] if parent in spread]
        if dynamic:
            (many,) = inputs
            outputs[uuid] = [checked(function(item, **given), tests) for item in many]
            if not configuration.get("reduce_output"):
                spread.add(uuid)
        else:
            outputs[uuid] = checked(function(*inputs, **given), tests)
            if configuration.get("dynamic"):
                outputs[uuid] = outputs[uuid][0]
                spread.add(uuid)
    return outputs


def checked(output: Any, tests: list[Any]) -> Any:
    for test in tests:
        test(output)
    return output


def loaded(path: Path, kind: str) -> tuple[Any, list[Any]]:
    """The function that the block's decorator marks, and its tests."""
    marked: dict[str, list[Any]] = {name: [] for name in (*KINDS, "test")}

    def marking(name: str) -> Any:
        return lambda function: marked[name].append(function) or function

    runpy.run_path(str(path), init_globals={name: marking(name) for name in marked})
    (function,) = marked[kind]
    return function, marked["test"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("pipeline")
    parser.add_argument("variables", nargs="*", metavar="NAME=VALUE")
    args = parser.parse_args()
    outputs = run(args.project.resolve(), args.pipeline, dict(v.split("=", 1) for v in args.variables))
    last = list(outputs)[-1]
    print(json.dumps({last: outputs[last]}, default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main())
