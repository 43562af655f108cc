# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Artifact Integrity Scanner: whether the models of a tree, and the code around them, are MOJOs and not POJOs, pickles or H2O binaries."""

from __future__ import annotations

import argparse
import ast
import configparser
import hashlib
import json
import re
import zipfile
from pathlib import Path

from _pysource import Module
from _report import PRUNED, Report, Rule, Tool, files, main, shown

SAVE_MOJO = "Use model.download_mojo(path) or model.save_mojo(path): a MOJO is data, is read by any version, and runs without a JVM in cenote."
RULES = (
    Rule("ART001", "error", "a pickled model: opening it runs code", "Train it in H2O and export a MOJO, or convert it to a format that is data (ONNX, MOJO)."),
    Rule("ART002", "error", "a POJO: Java source that must be compiled, tied to one release and limited in size", SAVE_MOJO),
    Rule("ART003", "error", "a file that says it is a MOJO and cannot be read as one", "Export it again and compare the sha256 on both sides of the copy."),
    Rule("ART004", "error", "code loads a pickled model", "Load a MOJO: cenote.load(path)."),
    Rule("ART005", "error", "an H2O binary model is saved or loaded where a MOJO belongs", SAVE_MOJO),
    Rule("ART006", "warning", "a MOJO without a recorded sha256 beside it", "Write one by ml-engineer's sign_model.py, and verify it at load."),
    Rule("ART007", "error", "a MOJO whose bytes differ from the recorded sha256", "Find out who changed it; restore the registered bytes."),
    Rule("ART008", "warning", "a JVM scorer in the serving path", "Score by cenote: no JVM, no warm-up, no heap to split the container with."),
)  # fmt: skip
TOOL = Tool("verify_mojo_artifact", "1.0.0", __doc__ or "", RULES)
PICKLES = (".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle")
CALLS = {"pickle.load": "ART004", "pickle.loads": "ART004", "joblib.load": "ART004", "dill.load": "ART004", "cloudpickle.load": "ART004",
         "h2o.download_pojo": "ART002", "h2o.save_model": "ART005", "h2o.load_model": "ART005", "mlflow.h2o.log_model": "ART005",
         "mlflow.h2o.save_model": "ART005", "daimojo.model": "ART008", "h2o.utils.shared_utils.mojo_predict_csv": "ART008",
         "h2o.mojo_predict_csv": "ART008", "h2o.mojo_predict_pandas": "ART008"}  # fmt: skip
METHODS = {"download_pojo": "ART002"}
MODEL_WORDS = re.compile(r"model|estimator|classifier|regressor|pipeline|clf|scaler|encoder", re.I)
POJO = re.compile(rb"extends\s+(?:hex\.genmodel\.)?GenModel\b")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", help="model files, Python files or folders of both")
    parser.add_argument("--source-dir", action="append", default=[], metavar="DIR", help="a folder to scan (may be given again)")
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="files or folders to leave out")


def check(args: argparse.Namespace, report: Report) -> None:
    targets = [*args.paths, *args.source_dir]
    named = {Path(t) for t in targets}
    for path in files(report, targets, ["*"], [*args.exclude, *PRUNED]):
        suffix = path.suffix.lower()
        if suffix == ".py":
            source(report, path)
        elif suffix in PICKLES:
            report.scanned += 1
            report.add("ART001", path, 0, f"{path.name} is a pickle.")
        elif suffix == ".zip" or path in named:
            archive(report, path, explicit=path in named)
        elif suffix == ".java":
            java(report, path)


def java(report: Report, path: Path) -> None:
    try:
        head = path.read_bytes()[: 1 << 20]
    except OSError as error:
        report.skip(path, f"unreadable: {error}")
        return
    report.scanned += 1
    if POJO.search(head):
        report.add("ART002", path, 0, f"{path.name} is a POJO.")


def archive(report: Report, path: Path, *, explicit: bool) -> None:
    if path.suffix.lower() == ".java":
        return java(report, path)
    try:
        with zipfile.ZipFile(path) as zipped:
            names = zipped.namelist()
            if "model.ini" not in names:
                if explicit:
                    report.scanned += 1
                    report.add("ART003", path, 0, f"{path.name} has no model.ini at its root.")
                return
            report.scanned += 1
            info = zipped.getinfo("model.ini")
            if info.file_size > 64 << 20 or info.flag_bits & 1:
                raise zipfile.BadZipFile("model.ini is encrypted or absurdly large")
            text = zipped.read(info).decode("utf-8")
            broken = zipped.testzip() if sum(i.file_size for i in zipped.infolist()) < 4 << 30 else None
        if broken:
            raise zipfile.BadZipFile(f"the checksum of {broken} is wrong")
        section = re.split(r"(?m)^\[columns\]", text)[0]
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        parser.read_string(section)
        lacking = [k for k in ("algo", "mojo_version", "n_columns") if not parser.has_option("info", k)]
        if lacking:
            raise zipfile.BadZipFile("model.ini lacks " + ", ".join(lacking))
    except (
        zipfile.BadZipFile,
        OSError,
        UnicodeDecodeError,
        configparser.Error,
        NotImplementedError,
        RuntimeError,
        ValueError,
        EOFError,
    ) as error:
        if explicit and not zipfile_like(path):
            report.skip(path, f"not a zip archive: {error}")
            return
        report.scanned += 1
        report.add("ART003", path, 0, f"{path.name}: {error}.")
        return
    recorded(report, path)


def zipfile_like(path: Path) -> bool:
    try:
        with open(path, "rb") as handle:
            return handle.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def recorded(report: Report, path: Path) -> None:
    """A sha256 beside the model: `<name>.sha256` as sha256sum writes it, or `<name>.manifest.json` as sign_model.py does."""
    try:
        if (side := path.with_name(path.name + ".manifest.json")).exists():
            wanted = json.loads(side.read_text())["sha256"]
        elif (side := path.with_name(path.name + ".sha256")).exists():
            wanted = side.read_text().split()[0]
        else:
            report.add("ART006", path, 0, f"{path.name} has neither {path.name}.manifest.json nor {path.name}.sha256.")
            return
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        report.skip(side, f"unreadable: {error}")
        return
    with open(path, "rb") as handle:
        if hashlib.file_digest(handle, "sha256").hexdigest() != wanted:
            report.add("ART007", path, 0, f"{path.name} is not what {shown(side)} records.")


def source(report: Report, path: Path) -> None:
    text = report.read(path)
    if text is None:
        return
    try:
        module = Module(path, text, ast.parse(text), path.stem)
    except (SyntaxError, ValueError, RecursionError) as error:
        report.skip(path, f"not Python 3: {error}")
        return
    report.scanned += 1
    for call in module.calls():
        name = module.qualify(call.func)
        rule = CALLS.get(name or "")
        if rule is None and isinstance(call.func, ast.Attribute):
            rule = METHODS.get(call.func.attr)
            name = call.func.attr
        if rule == "ART004" and name in ("pickle.load", "pickle.loads") and not about_a_model(module, call):
            continue
        if rule:
            report.add(
                rule, path, call.lineno, f"{name}: {next(r.title for r in RULES if r.id == rule)}.", column=call.col_offset + 1
            )


def about_a_model(module: Module, call: ast.Call) -> bool:
    """Pickle serves caches and queues too; a model is meant where the words around the call say so."""
    holder = module.parents.get(call)
    words = [ast.unparse(a) for a in call.args]
    if isinstance(holder, ast.Assign):
        words += [ast.unparse(t) for t in holder.targets]
    if isinstance(holder, ast.Return) and (function := module.function_of(call)) is not None:
        words.append(getattr(function, "name", ""))
    return any(MODEL_WORDS.search(w) for w in words)


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
