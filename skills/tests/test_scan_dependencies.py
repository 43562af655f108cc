"""Advisory matching against a small local copy in each of the three forms, and the refusals: no data, old data, nothing pinned."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from support import run

TODAY = time.strftime("%Y-%m-%dT00:00:00Z")


@pytest.fixture
def advisories(tmp_path: Path) -> Path:
    folder = tmp_path / "advisories"
    folder.mkdir()
    record = {"id": "PYSEC-1", "modified": TODAY, "aliases": ["CVE-1"], "summary": "bad", "affected": [
        {"package": {"ecosystem": "PyPI", "name": "Some_Package"}, "ranges": [{"type": "ECOSYSTEM", "events": [
            {"introduced": "0"}, {"fixed": "1.10"}, {"introduced": "2.0"}, {"fixed": "2.1"}]}]}]}  # fmt: skip
    (folder / "a.json").write_text(json.dumps(record))
    (folder / "b.yaml").write_text(
        f"id: PYSEC-2\nmodified: '{TODAY}'\naffected:\n- package: {{ecosystem: PyPI, name: listed}}\n  versions: ['0.3']\n"
    )
    (folder / "c.md").write_text(
        '```toml\n[advisory]\nid = "RUSTSEC-1"\npackage = "crate"\ndate = "2026-01-01"\ninformational = "unmaintained"\n[versions]\npatched = []\n```\n'
    )
    (folder / "d.md").write_text(
        '```toml\n[advisory]\nid = "RUSTSEC-2"\npackage = "other"\ndate = "2026-01-01"\n[versions]\npatched = [">= 1.2.3", ">= 0.9.5, < 1.0.0"]\n```\n'
    )
    return folder


def scan(tmp_path: Path, text: str, advisories: Path, *more: str, name: str = "requirements.txt") -> object:
    path = tmp_path / name
    path.write_text(text)
    return run("scan_dependencies", path, "--advisories", advisories, "--fail-on", "warning", *more)


@pytest.mark.parametrize(
    ("version", "bad", "fixed"),
    [("1.9", True, "1.10"), ("1.10", False, ""), ("2.0.5", True, "2.1"), ("2.1", False, ""), ("1.10rc1", True, "1.10")],
)
def test_ranges_by_the_ecosystems_own_order(tmp_path: Path, advisories: Path, version: str, bad: bool, fixed: str) -> None:
    result = scan(tmp_path, f"some-package[extra]=={version} ; python_version > '3'\n", advisories)
    assert result.rules() == ({"DEP001"} if bad else set())
    assert not bad or fixed in result.json["findings"][0]["fix"]


def test_listed_versions_unpinned_and_unmaintained(tmp_path: Path, advisories: Path) -> None:
    assert scan(tmp_path, "listed==0.3\n", advisories).rules() == {"DEP001"}
    assert scan(tmp_path, "listed>=0.3\nother==1\n", advisories).rules() == {"DEP002"}
    lock = '[[package]]\nname = "crate"\nversion = "1.0.0"\nsource = "registry"\n\n[[package]]\nname = "other"\nversion = "{}"\nsource = "registry"\n'
    assert scan(tmp_path, lock.format("1.2.3"), advisories, name="Cargo.lock").rules() == {"DEP004"}
    assert scan(tmp_path, lock.format("0.9.6"), advisories, name="Cargo.lock").rules() == {"DEP004"}
    assert scan(tmp_path, lock.format("1.1.0"), advisories, name="Cargo.lock").rules() == {"DEP004", "DEP001"}


def test_no_data_or_old_data_is_not_checked(tmp_path: Path, advisories: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "DEP003" in scan(tmp_path, "a==1\n", empty).json["error"]
    assert scan(tmp_path, "a==1\n", tmp_path / "absent").code == 3
    for path in advisories.iterdir():
        path.write_text(path.read_text().replace(TODAY, "2020-01-01T00:00:00Z").replace("2026-01-01", "2020-01-01"))
    result = scan(tmp_path, "a==1\n", advisories)
    assert result.code == 3 and "DEP003" in result.json["error"]
    assert scan(tmp_path, "a==1\n", advisories, "--max-age", "100000").code == 0


def test_lock_files_of_uv_and_poetry(tmp_path: Path, advisories: Path) -> None:
    lock = (
        '[[package]]\nname = "own"\nversion = "1"\nsource = { editable = "." }\n\n[[package]]\nname = "listed"\nversion = "0.3"\n'
    )
    assert scan(tmp_path, lock + 'source = { registry = "https://pypi.org/simple" }\n', advisories, name="uv.lock").rules() == {
        "DEP001"
    }
    assert scan(tmp_path, lock, advisories, name="uv.lock").code == 2, "nothing from a registry"
    assert scan(tmp_path, '[[package]]\nname = "listed"\nversion = "0.3"\n', advisories, name="poetry.lock").rules() == {"DEP001"}


def test_licences_are_read_where_the_packages_are(tmp_path: Path, advisories: Path) -> None:
    site = tmp_path / "site"
    for name, head in {
        "good": "License-Expression: GPL-3.0-only OR MIT",
        "old": "Classifier: License :: OSI Approved :: Apache Software License",
        "both": "License-Expression: MIT AND AGPL-3.0-only",
        "silent": "Summary: x",
    }.items():
        folder = site / f"{name}-1.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1\n{head}\n")
    allow = ["--environment", str(site), "--licence", "MIT", "--licence", "Apache-2.0"]
    result = scan(tmp_path, "good==1\nold==1\nboth==1\nsilent==1\n", advisories, *allow)
    assert {(f["rule_id"], f["line"]) for f in result.json["findings"]} == {("DEP005", 3), ("DEP005", 4)}
    assert scan(tmp_path, "good==1\nelsewhere==1\n", advisories, *allow).code == 2, "a licence that could not be read is no pass"
    assert scan(tmp_path, "good==1\n", advisories, "--licence", "MIT").code == 2
    assert scan(tmp_path, "good==1\n", advisories, "--licence", "MIT", "--environment", str(tmp_path / "none")).code == 3


def test_the_bill_of_materials_names_each_package_once(tmp_path: Path, advisories: Path) -> None:
    out = tmp_path / "sbom.json"
    assert scan(tmp_path, "B_b==2\na==1\na==1\n", advisories, "--sbom", str(out)).code == 0
    bill = json.loads(out.read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert [c["purl"] for c in bill["components"]] == ["pkg:pypi/a@1", "pkg:pypi/b-b@2"]
    assert scan(tmp_path, "a==1\n", advisories, "--sbom", str(tmp_path / "no" / "x.json")).code == 2
