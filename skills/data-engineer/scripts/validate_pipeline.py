# /// script
# requires-python = ">=3.11"
# dependencies = ["PyYAML>=6,<7"]
# ///
"""Validates Mage pipelines: metadata, graph, block files, secrets, and what makes a run safe to repeat. Nothing is run."""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

from _mage import BLOCK_TYPES, FOLDERS, PIPELINE_TYPES, Block, Pipeline, decorated, pipelines

from _manifests import Map, parse
from _report import Report, Rule, Tool, main, need

RULES = (
    Rule("MAGE001", "error", "metadata.yaml cannot be read", "Mend the YAML; a key given twice hides the first."),
    Rule("MAGE002", "error", "an unknown block type", "One of data_loader, transformer, data_exporter, sensor, custom, ..."),
    Rule("MAGE003", "error", "a block's file is missing", "<type>s/<uuid>.py below the project; slashes of the uuid are folders."),
    Rule("MAGE004", "error", "an upstream block that does not exist", "Name a block of this pipeline."),
    Rule("MAGE005", "warning", "a downstream block that does not exist", "Name a block of this pipeline, or remove it."),
    Rule("MAGE006", "error", "an edge that only one side knows", "List it in upstream_blocks of the one and downstream_blocks of the other."),
    Rule("MAGE007", "error", "a cycle", "Cut it: the blocks named wait for each other."),
    Rule("MAGE008", "error", "two blocks with one uuid", "Rename one."),
    Rule("MAGE009", "error", "a block file without exactly one function under its decorator", "One function under @<block type>."),
    Rule("MAGE010", "warning", "a loader or transformer without @test", "Assert at least that rows came, keys are unique and required columns are not missing."),
    Rule("MAGE012", "error", "a secret as a literal", "{{ env_var('NAME') }} in YAML; os.environ or get_secret_value in Python."),
    Rule("MAGE013", "warning", "I/O at module level runs whenever the file is looked at", "Move it into the decorated function."),
    Rule("MAGE014", "warning", "a transformer that writes", "Leave writing to an exporter, so that a retry repeats one thing."),
    Rule("MAGE015", "warning", "an exporter that appends rows when it is run twice", "Upsert by key, or delete the run's partition first (if_exists, unique key)."),
    Rule("MAGE016", "error", "a model leaves the pipeline as POJO, pickle or H2O binary", "model.download_mojo(path)."),
    Rule("MAGE017", "error", "a block is not Python", "Mend the syntax."),
    Rule("MAGE018", "warning", "no retries for blocks that reach out", "retry_config: {retries: 3, delay: 10, exponential_backoff: true} for the pipeline or block."),
    Rule("MAGE019", "error", "the pipeline's type is unknown, or its uuid is not its folder's name", "uuid equals the folder; type is python, streaming, integration, pyspark or databricks."),
    Rule("MAGE020", "warning", "a block that stands alone in a pipeline of several", "Connect it, or remove it."),
)  # fmt: skip
TOOL = Tool("validate_pipeline", "1.0.0", __doc__ or "", RULES)
SECRET = re.compile(r"(?:password|passwd|secret|token|api_?key|access_key|private_key)$", re.I)
# Words that stand where a value will: `password`, `api_key`, `session_token (used for ...)`, `your_token`.
PLACEHOLDER = re.compile(
    r"(?:your|my)?[-_ ]?[a-z_-]*(?:password|passwd|token|key|secret|credentials?)(?:\s.*)?|change.?me|example|x+|\*+", re.I
)
IO = (
    "requests.",
    "pd.read_",
    "pandas.read_",
    "psycopg2.connect",
    "psycopg.connect",
    "boto3.",
    "open(",
    "h2o.init",
    "urllib.request.",
)
WRITES = re.compile(
    r"\.(to_sql|to_csv|to_parquet|to_json|to_excel|export|put_object|upload_file|copy_expert|write_parquet|write_csv)$"
)
MODELS = {"h2o.save_model": "an H2O binary", "h2o.download_pojo": "a POJO", "joblib.dump": "a pickle", "pickle.dump": "a pickle"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="+", metavar="pipeline_path", help="Mage projects, pipeline folders or metadata.yaml files"
    )
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="files or folders to leave out")


def check(args: argparse.Namespace, report: Report) -> None:
    seen: set[str] = set()
    for pipeline in pipelines(report, args.paths, args.exclude):
        structure(report, pipeline)
        for block in pipeline.blocks:
            if block.tree is not None and block.path is not None and str(block.path) not in seen:
                seen.add(str(block.path))
                source(report, block)
        settings = pipeline.project / "io_config.yaml"
        if settings.is_file() and str(settings) not in seen:
            seen.add(str(settings))
            configuration(report, settings)


def structure(report: Report, pipeline: Pipeline) -> None:
    path, data = pipeline.path, pipeline.data
    for kind, line, message in pipeline.problems:
        if kind == "syntax":
            name = message.partition(":")[0]
            broken = next((b.path for b in pipeline.blocks if b.path is not None and b.path.name == name), path)
            report.add("MAGE017", broken, line, message)
        else:
            report.add("MAGE001", path, line, message)
    if not data:
        return
    kind, uuid = str(data.get("type", "python")), str(data.get("uuid", ""))
    folder = path.resolve().parent.name
    if kind not in PIPELINE_TYPES:
        report.add("MAGE019", path, data.at("type"), f"type {kind!r}.")
    if path.resolve().parent.parent.name == "pipelines" and uuid != folder:
        report.add("MAGE019", path, data.at("uuid"), f"uuid {uuid!r} in the folder {folder!r}.")
    names = [b.uuid for b in pipeline.blocks]
    by_name = {b.uuid: b for b in pipeline.blocks}
    for number, block in enumerate(pipeline.blocks):
        if block.uuid in names[:number]:
            report.add("MAGE008", path, block.line, f"{block.uuid} stands twice.")
        if block.type not in BLOCK_TYPES:
            report.add("MAGE002", path, block.raw.at("type"), f"{block.uuid}: type {block.type!r}.")
        elif block.path is not None and not block.path.is_file() and kind in ("python", "pyspark", "databricks"):
            report.add("MAGE003", path, block.line, f"{block.uuid}: no file {FOLDERS.get(block.type, '')}/{block.path.name}.")
        for up in block.upstream:
            if up not in by_name:
                report.add("MAGE004", path, block.raw.at("upstream_blocks"), f"{block.uuid} waits for {up}.")
            elif by_name[up].downstream and block.uuid not in by_name[up].downstream:
                report.add(
                    "MAGE006", path, block.raw.at("upstream_blocks"), f"{block.uuid} waits for {up}, which does not list it."
                )
        for down in block.downstream:
            if down not in by_name:
                if "widgets" not in data or down not in str(data.get("widgets")):
                    report.add("MAGE005", path, block.raw.at("downstream_blocks"), f"{block.uuid} feeds {down}.")
            elif block.uuid not in by_name[down].upstream:
                report.add(
                    "MAGE006", path, block.raw.at("downstream_blocks"), f"{block.uuid} feeds {down}, which does not wait for it."
                )
    for name in cycle(by_name):
        report.add("MAGE007", path, by_name[name].line, f"{name} waits for itself, in the end.")
    working = [b for b in pipeline.blocks if b.type in ("data_loader", "transformer", "data_exporter")]
    linked = {u for b in pipeline.blocks for u in b.upstream} | {d for b in pipeline.blocks for d in b.downstream}
    for block in working:
        if len(working) > 1 and not block.upstream and not block.downstream and block.uuid not in linked:
            report.add("MAGE020", path, block.line, f"{block.uuid} has neither upstream nor downstream.")
    outward = [b for b in working if b.type != "transformer"]
    if outward and kind == "python" and "retry_config" not in data and not all("retry_config" in b.raw for b in outward):
        report.add("MAGE018", path, data.at("blocks"), "neither the pipeline nor each loader and exporter has a retry_config.")


def cycle(by_name: dict[str, Block]) -> list[str]:
    """The blocks that cannot be ordered and are themselves waited for."""
    left = {n: {u for u in b.upstream if u in by_name} for n, b in by_name.items()}
    while ready := [n for n, up in left.items() if not up]:
        for name in ready:
            del left[name]
        for up in left.values():
            up.difference_update(ready)
    while ends := [n for n in left if not any(n in up for up in left.values())]:
        for name in ends:
            del left[name]
    return sorted(left)


def source(report: Report, block: Block) -> None:
    path, tree = block.path, block.tree
    assert path is not None and tree is not None
    if block.type in ("data_loader", "transformer", "data_exporter", "sensor", "custom", "conditional"):
        name = {"conditional": "condition"}.get(block.type, block.type)
        count = len(decorated(tree, name))
        if count != 1:
            report.add("MAGE009", path, 1, f"{path.name} has {count} functions under @{name}.")
    if block.type in ("data_loader", "transformer") and not decorated(tree, "test"):
        report.add("MAGE010", path, 1, f"{path.name} has no @test.")
    for node in tree.body:
        if isinstance(node, (ast.Expr, ast.Assign)) and any(
            isinstance(n, ast.Call) and f"{ast.unparse(n.func)}(".startswith(IO) for n in ast.walk(node)
        ):
            report.add("MAGE013", path, node.lineno, f"{path.name}: {ast.unparse(node)[:60]}.")
    functions = decorated(tree, block.type)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            for target in node.targets:
                name = target.id if isinstance(target, ast.Name) else target.attr if isinstance(target, ast.Attribute) else ""
                literal(report, path, node.lineno, name, node.value.value)
        if isinstance(node, ast.Call):
            for word in node.keywords:
                if word.arg and isinstance(word.value, ast.Constant) and isinstance(word.value.value, str):
                    literal(report, path, word.value.lineno, word.arg, word.value.value)
            called = ast.unparse(node.func)
            if called in MODELS:
                report.add("MAGE016", path, node.lineno, f"{called} writes {MODELS[called]}.")
            inside = any(node in ast.walk(f) for f in functions)
            if inside and block.type == "transformer" and WRITES.search(called) and node.args:
                report.add("MAGE014", path, node.lineno, f"{called} in a transformer.")
            if inside and block.type == "data_exporter" and appends(node, called):
                report.add("MAGE015", path, node.lineno, f"{called} appends.")


def appends(call: ast.Call, called: str) -> bool:
    words = {k.arg: k.value for k in call.keywords}
    mode = words.get("if_exists")
    keyed = "unique_constraints" in words or "unique_conflict_method" in words
    if called.endswith(".to_sql"):
        return isinstance(mode, ast.Constant) and mode.value == "append"
    if called.endswith(".export") and "loader" in called.lower():
        return not keyed and (mode is None or (isinstance(mode, ast.Constant) and mode.value == "append"))
    return False


def literal(report: Report, path: Path, line: int, name: str, value: str) -> None:
    if (
        SECRET.search(name)
        and value
        and not PLACEHOLDER.fullmatch(value)
        and not re.fullmatch(r"[A-Z][A-Z0-9_]*|\s*\{\{.*\}\}\s*|<.*>|\$\{?\w+\}?", value)
        and len(value) >= 4
    ):
        report.add("MAGE012", path, line, f"{name} is written in the file.")


def configuration(report: Report, path: Path) -> None:
    """Each `KEY: value` of io_config.yaml, by lines of its parsed form: the keys are flat below profiles."""
    yaml = need("yaml", "PyYAML>=6,<7")
    text = report.read(path)
    try:
        documents = parse(yaml, text or "")
    except (yaml.YAMLError, ValueError) as error:
        report.add("MAGE001", path, 1, f"io_config.yaml: {' '.join(str(error).split())[:200]}")
        return
    for document in documents:
        for profile in document.values() if isinstance(document, Map) else []:
            for key, value in profile.items() if isinstance(profile, Map) else []:
                if isinstance(value, str):
                    literal(report, path, profile.at(key), str(key), value)


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
