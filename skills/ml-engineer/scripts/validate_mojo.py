# /// script
# requires-python = ">=3.11"
# dependencies = ["cenote"]
# ///
"""Validates H2O MOJO models by reading them whole (every tree, every coefficient) with cenote, the library that will score them."""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import _views as views

from _report import NotChecked, Report, Rule, Tool, Unusable, files, main, need

RULES = (
    Rule("MOJO001", "error", "not a MOJO, or damaged, or contradicting itself", "Export it again by model.download_mojo(), and compare the sha256 on both sides of the copy."),
    Rule("MOJO002", "error", "the file would cost more than a model may", "Do not raise the limits for a file of unknown origin: it may be a decompression bomb."),
    Rule("MOJO005", "error", "an algorithm or format version that cenote does not read", "Train another algorithm of the list in the ml-engineer skill, or score it elsewhere."),
    Rule("MOJO012", "error", "a POJO, a pickle or a Driverless AI pipeline where a MOJO belongs", "Export a MOJO: model.download_mojo(path)."),
    Rule("MOJO013", "warning", "written by a development build of H2O, or by a very old one", "Train with a release of the last years."),
    Rule("MOJO014", "warning", "the default threshold lies outside 0 to 1", "Decide by a threshold of your own, and record it with the model."),
    Rule("MOJO015", "warning", "a classifier without labels", "Convert the response with .asfactor() before training."),
    Rule("MOJO016", "error", "the model reads what the feature view does not have", "Add the feature to the view (a new version where its type differs), or train on the view's own features."),
    Rule("MOJO017", "error", "golden rows score differently", "Find what changed: the file, the rows, or the library; do not widen the tolerance first."),
    Rule("MOJO018", "error", "the file is not the one that its manifest records", "Fetch it again from the registry; find out who changed it."),
    Rule("MOJO019", "info", "a model that will be dear to load or to serve", "Fewer or shallower trees, or fewer levels; measure before and after: the accuracy lost is often none."),
)  # fmt: skip
TOOL = Tool("validate_mojo", "1.0.0", __doc__ or "", RULES)
OLDEST = (3, 10)
LARGE_BYTES = 256 << 20
MANY_LEVELS = 100_000


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="model.zip", help="MOJO files, or folders of them")
    parser.add_argument("--schema", metavar="FILE", help="the feature view (JSON) that will feed the model")
    parser.add_argument("--golden", metavar="FILE", help="rows to score, CSV (also .gz); with --expected")
    parser.add_argument("--expected", metavar="FILE", help="what they must score, CSV with H2O's column names")
    parser.add_argument("--tolerance", type=float, default=1e-9, help="greatest relative difference of a number (default: 1e-9)")
    parser.add_argument(
        "--manifest",
        metavar="FILE",
        help="JSON with the sha256 that the file must have (default: <model>.manifest.json if it is there)",
    )


def check(args: argparse.Namespace, report: Report) -> None:
    cenote: Any = need("cenote", "cenote")
    if not hasattr(cenote, "load"):
        raise NotChecked("the module 'cenote' that is installed is not the scoring library: pip install cenote")
    report.engines.append(f"cenote {cenote.__version__}")
    if bool(args.golden) != bool(args.expected):
        raise Unusable("--golden and --expected go together")
    view = read_view(Path(args.schema)) if args.schema else None
    for path in files(report, args.paths, ["*.zip", "*.mojo"]):
        try:
            empty = path.stat().st_size == 0
            head = path.open("rb").read(4)
        except OSError as error:
            report.skip(path, f"unreadable: {error}")
            continue
        if empty:
            report.skip(path, "empty")
            continue
        report.scanned += 1
        foreign = other_format(path, head)
        if foreign:
            report.add("MOJO012", path, 0, f"{path.name} is {foreign}.")
            continue
        recorded(report, path, args.manifest)
        try:
            model = cenote.load(path)
        except cenote.UnsupportedModelError as error:
            report.add("MOJO005", path, 0, f"{error}")
        except cenote.LimitError as error:
            report.add("MOJO002", path, 0, f"{error}")
        except (cenote.ModelFormatError, OSError) as error:
            report.add("MOJO001", path, 0, f"{error}")
        else:
            report.data[path.name] = facts(model, path)
            judge(report, path, model)
            size(report, path, model)
            if view is not None:
                fits(report, path, model, view)
            if args.golden:
                golden(report, path, model, Path(args.golden), Path(args.expected), args.tolerance, cenote)


def other_format(path: Path, head: bytes) -> str | None:
    if path.suffix == ".java":
        return "Java source, a POJO"
    if path.suffix in (".pkl", ".pickle", ".joblib") or head[:2] in (b"\x80\x04", b"\x80\x05", b"\x80\x03"):
        return "a pickle"
    if path.name == "pipeline.mojo":
        return "a Driverless AI pipeline, a format of its own"
    return None


def facts(model: Any, path: Path) -> dict[str, Any]:
    return {
        "algorithm": model.algo, "category": model.category, "h2o_version": model.h2o_version, "mojo_version": model.mojo_version, "uuid": model.uuid,
        "features": len(model.feature_names), "categorical": sum(1 for v in model.feature_types.values() if v == "categorical"), "trees": model.n_trees,
        "response": model.response, "labels": len(model.labels) if model.labels else None, "bytes": path.stat().st_size,
    }  # fmt: skip


def judge(report: Report, path: Path, model: Any) -> None:
    version = str(model.h2o_version)
    numbers = tuple(int(p) for p in version.split(".")[:2] if p.isdigit())
    if version.endswith(".99999"):
        report.add("MOJO013", path, 0, f"h2o_version is {version}, a development build.")
    elif len(numbers) == 2 and numbers < OLDEST:
        report.add("MOJO013", path, 0, f"h2o_version is {version}.")
    threshold = model.default_threshold
    if threshold is not None and not 0 <= threshold <= 1:
        report.add("MOJO014", path, 0, f"default_threshold is {threshold}.")
    if model.category in ("Binomial", "Multinomial", "Ordinal") and not model.labels:
        report.add("MOJO015", path, 0, f"{model.category} without labels.")


def size(report: Report, path: Path, model: Any) -> None:
    """What the archive weighs unpacked is about what the engine reads; a level of a category costs a text and a slot."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(info.file_size for info in archive.infolist())
    levels = sum(len(values or ()) for values in (model.domains or {}).values())
    report.data[path.name] |= {"unpacked_bytes": unpacked, "levels": levels}
    if unpacked > LARGE_BYTES or levels > MANY_LEVELS:
        trees = f"{model.n_trees} trees, " if model.n_trees else ""
        report.add("MOJO019", path, 0, f"{path.name}: {trees}{levels} levels, {unpacked / (1 << 20):.0f} MiB unpacked.")


def recorded(report: Report, path: Path, manifest: str | None) -> None:
    side = Path(manifest) if manifest else path.with_name(path.name + ".manifest.json")
    if not manifest and not side.exists():
        return
    try:
        wanted = json.loads(side.read_text("utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unusable(f"the manifest {side} cannot be read: {error}") from None
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    if digest != wanted:
        report.add("MOJO018", path, 0, f"sha256 is {digest[:16]}..., and {side.name} records {str(wanted)[:16]}....")


def read_view(path: Path) -> dict[str, Any]:
    try:
        found = views.read(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise Unusable(f"the view {path} cannot be read: {error}") from None
    refused = [p.message for view in found for p in views.problems(view)]
    if refused or len(found) != 1:
        raise Unusable(f"{path} is not one feature view: {'; '.join(refused) or f'{len(found)} views'}")
    return found[0]


def fits(report: Report, path: Path, model: Any, view: dict[str, Any]) -> None:
    columns = {c["name"]: c for _, c in views.columns(view)}
    for name, kind in model.feature_types.items():
        column = columns.get(name)
        if column is None:
            report.add("MOJO016", path, 0, f"{name} ({kind}) is not in {view['name']}.")
        elif kind == "numeric" and column["type"] == "text":
            report.add("MOJO016", path, 0, f"{name} is numeric for the model and text in {view['name']}.")
        elif kind == "categorical" and column["type"] not in ("text", "bool", "i16", "i32", "i64"):
            report.add("MOJO016", path, 0, f"{name} is categorical for the model and {column['type']} in {view['name']}.")
        elif kind == "categorical" and column.get("levels"):
            unseen = set(column["levels"]) - set(model.domains.get(name) or [])
            if unseen:
                report.add(
                    "MOJO016",
                    path,
                    0,
                    f"{name}: the model does not know {', '.join(sorted(unseen)[:5])}, which {view['name']} may deliver.",
                    severity="warning",
                )


def table(path: Path) -> list[dict[str, str | None]]:
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
        rows = list(csv.DictReader(io.StringIO(text)))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise Unusable(f"{path} cannot be read: {error}") from None
    if not rows:
        raise Unusable(f"{path} has no rows")
    return [{k: None if v in ("", "NA", "N/A", "-") else v for k, v in row.items() if k is not None} for row in rows]


def golden(report: Report, path: Path, model: Any, inputs: Path, outputs: Path, tolerance: float, cenote: Any) -> None:
    rows, wanted = table(inputs), table(outputs)
    if len(rows) != len(wanted):
        raise Unusable(f"{inputs} has {len(rows)} rows and {outputs} has {len(wanted)}")
    try:
        got = model.predict(rows)
    except cenote.CenoteError as error:
        report.add("MOJO017", path, 0, f"the golden rows cannot be scored: {error}")
        return
    # H2O's frames name a probability by its label (or p0, p1); scorers of the Java wrapper write p_<label>.
    columns = {c: next((n for n in (c, f"p_{c}", f"p_{c[1:]}") if n in wanted[0]), None) for c in model.output_names}
    missing = [c for c, found in columns.items() if found is None]
    if missing:
        raise Unusable(f"{outputs} has no column {missing[0]!r}; the model answers {', '.join(model.output_names)}")
    wrong = 0
    for number, (prediction, row) in enumerate(zip(got, wanted, strict=True), 1):
        for name in model.output_names:
            if not same(prediction[name], row[columns[name] or name], tolerance):
                wrong += 1
                if wrong <= 3:
                    report.add(
                        "MOJO017",
                        path,
                        0,
                        f"golden row {number}: {name} is {prediction[name]!r}, expected {row[columns[name] or name]!r}.",
                    )
    report.data[path.name]["golden"] = {"rows": len(rows), "different": wrong}


def same(got: Any, wanted: str | None, tolerance: float) -> bool:
    if got is None or (isinstance(got, float) and math.isnan(got)):
        return wanted is None or wanted.lower() == "nan"
    if wanted is None:
        return False
    try:
        number = float(wanted)
    except ValueError:
        return str(got) == wanted
    if isinstance(got, str):
        return got == wanted or got == str(number)
    return got == number or abs(got - number) <= tolerance * max(1.0, abs(number))


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
