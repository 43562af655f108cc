"""validate_mojo.py on real MOJOs of the repository, and on the same ones damaged. Skipped where the cenote wheel is not installed."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import zipfile
from pathlib import Path

import pytest

from support import SKILLS, load, run, script

cenote = pytest.importorskip("cenote", reason="the cenote wheel is not installed")
ZOO = SKILLS.parent / "fixtures/zoo"
GBM = ZOO / "gbm_bernoulli"


def rewritten(path: Path, change) -> Path:
    """The GBM's MOJO with its model.ini changed."""
    with zipfile.ZipFile(GBM / "model.zip") as source, zipfile.ZipFile(path, "w") as out:
        for info in source.infolist():
            data = source.read(info)
            out.writestr(info.filename, change(data.decode()).encode() if info.filename == "model.ini" else data)
    return path


def test_a_large_model_is_mentioned_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load(script("validate_mojo")), "LARGE_BYTES", 100)
    result = run("validate_mojo", GBM / "model.zip", "--fail-on", "info")
    assert "MOJO019" in result.rules() and result.code == 1
    assert result.json["data"]["model.zip"]["unpacked_bytes"] > 100
    monkeypatch.undo()
    assert "MOJO019" not in run("validate_mojo", GBM / "model.zip").rules()


@pytest.mark.parametrize("case", sorted(p.parent.name for p in ZOO.glob("*/model.zip")))
def test_real_models_and_their_golden_rows_pass(case: str) -> None:
    folder = ZOO / case
    golden, expected = next(folder.glob("input.csv*")), next(folder.glob("expected.csv*"))
    more = ["--golden", golden, "--expected", expected, "--tolerance", "1e-6"]
    if case == "gbm_weird_names":
        more = []  # model.ini holds its names trimmed, and the rows are named as they were before
    result = run("validate_mojo", folder / "model.zip", *more)
    assert result.code == 0, result.out
    assert result.json["data"]["model.zip"]["features"] > 0


def test_damage_is_found(tmp_path: Path) -> None:
    data = (GBM / "model.zip").read_bytes()
    for name, bytes_ in {
        "cut": data[: len(data) // 2],
        "flipped": data[:2000] + bytes([data[2000] ^ 255]) + data[2001:],
        "text": b"hello world",
    }.items():
        path = tmp_path / f"{name}.zip"
        path.write_bytes(bytes_)
        assert run("validate_mojo", path).rules() == {"MOJO001"}, name


def test_kinds_that_are_not_read(tmp_path: Path) -> None:
    assert run(
        "validate_mojo", rewritten(tmp_path / "a.zip", lambda t: re.sub(r"(?m)^algorithm = .*", "algorithm = Word2Vec", t))
    ).rules() >= {"MOJO005"}
    (tmp_path / "p.zip").write_bytes(b"\x80\x04N.")
    (tmp_path / "Model.java").write_text("class Model {}")
    for name in ("p.zip", "Model.java"):
        assert run("validate_mojo", tmp_path / name).rules() == {"MOJO012"}


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("model.ini", "[info]\n" + "#" * (300 << 20))
    assert run("validate_mojo", path).rules() & {"MOJO001", "MOJO002"}, "MOJO002 or a refusal as damaged"


def test_warnings(tmp_path: Path) -> None:
    assert (
        "MOJO013"
        in run(
            "validate_mojo",
            rewritten(tmp_path / "a.zip", lambda t: re.sub(r"(?m)^h2o_version = .*", "h2o_version = 3.47.0.99999", t)),
            "--fail-on",
            "warning",
        ).rules()
    )
    assert (
        "MOJO014"
        in run(
            "validate_mojo",
            rewritten(tmp_path / "b.zip", lambda t: re.sub(r"(?m)^default_threshold = .*", "default_threshold = 7.0", t)),
            "--fail-on",
            "warning",
        ).rules()
    )


def test_a_classifier_without_labels() -> None:
    """No real MOJO lacks them ("MOJO015"): the rule is asked directly."""
    from support import load, script

    module = load(script("validate_mojo"))
    report = module.Report(module.TOOL)

    class Model:
        h2o_version, default_threshold, category, labels = "3.46.0.11", None, "Multinomial", None

    module.judge(report, Path("m.zip"), Model())
    assert [f.rule_id for f in report.findings] == ["MOJO015"]


def test_the_view_is_compared_with_the_model(tmp_path: Path) -> None:
    model = cenote.load(GBM / "model.zip")
    features = [{"name": n, "type": "text" if k == "categorical" else "f64"} for n, k in model.feature_types.items()]
    view = {"name": "v", "keys": [{"name": "id", "type": "i64"}], "features": features}
    path = tmp_path / "view.json"
    path.write_text(json.dumps(view))
    assert run("validate_mojo", GBM / "model.zip", "--schema", path).code == 0
    numeric = next(f for f in features if f["type"] == "f64")
    numeric["type"] = "text"
    features.remove(next(f for f in features if f is not numeric))
    path.write_text(json.dumps(view))
    result = run("validate_mojo", GBM / "model.zip", "--schema", path)
    assert result.rules() == {"MOJO016"} and len(result.json["findings"]) == 2
    path.write_text("{}")
    assert run("validate_mojo", GBM / "model.zip", "--schema", path).code == 2


def test_golden_rows_that_differ(tmp_path: Path) -> None:
    rows = list(csv.DictReader((GBM / "expected.csv").open()))
    column = next(c for c in rows[0] if c.startswith("p") and c != "predict")
    rows[0][column] = str(float(rows[0][column]) + 1e-4)
    path = tmp_path / "expected.csv"
    with path.open("w", newline="") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert run("validate_mojo", GBM / "model.zip", "--golden", GBM / "input.csv", "--expected", path).rules() == {"MOJO017"}
    assert run("validate_mojo", GBM / "model.zip", "--golden", GBM / "input.csv").code == 2


def test_the_manifests_digest(tmp_path: Path) -> None:
    path, side = tmp_path / "m.zip", tmp_path / "m.zip.manifest.json"
    path.write_bytes((GBM / "model.zip").read_bytes())
    side.write_text(json.dumps({"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}))
    assert run("validate_mojo", path).code == 0
    side.write_text(json.dumps({"sha256": "0" * 64}))
    assert run("validate_mojo", path).rules() == {"MOJO018"}
    side.write_text("[")
    assert run("validate_mojo", path).code == 2
