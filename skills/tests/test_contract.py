"""The contract that all scripts share: help, exit codes, JSON alone on stdout, SARIF, no pass on nothing, no traceback on garbage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from support import FIXTURES, SKILLS, load, run, script, scripts

SCHEMA = json.loads((SKILLS / "_shared/report.schema.json").read_text())
# Scripts whose target is not a path argument: what stands before the garbage file on their command line.
BEFORE: dict[str, list[str]] = {"run_slo_gate": ["--results"], "scan_dependencies": ["--advisories", "/nonexistent"]}
LIVE = {"check_db_health", "check_query_plan", "measure_event_loop", "check_tdd", "sign_model"}
ALL = pytest.mark.parametrize("path", scripts(), ids=lambda p: p.stem)
FILES = pytest.mark.parametrize("path", [p for p in scripts() if p.stem not in LIVE], ids=lambda p: p.stem)


def before(path: Path) -> list[str]:
    return BEFORE.get(path.stem, [])


@ALL
def test_help_names_the_rules_and_exit_codes(path: Path) -> None:
    done = subprocess.run([sys.executable, str(path), "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "exit codes:" in done.stdout
    assert all(rule.id in done.stdout for rule in load(path).TOOL.rules)


@ALL
def test_rules_are_well_formed(path: Path) -> None:
    rules = load(path).TOOL.rules
    assert len({r.id for r in rules}) == len(rules) > 0
    assert all(r.severity in ("error", "warning", "info") and r.title and r.fix.endswith((".", ")")) for r in rules)


@ALL
def test_script_header_declares_python_and_dependencies(path: Path) -> None:
    head = path.read_text().split('"""')[0]
    assert head.startswith('# /// script\n# requires-python = ">=3.11"\n# dependencies = [') and "# ///\n" in head


@FILES
@pytest.mark.parametrize("kind", ["empty folder", "absent", "empty", "binary", "not utf-8", "truncated", "link loop", "huge"])
def test_garbage_is_no_pass_and_no_traceback(path: Path, kind: str, tmp_path: Path) -> None:
    name = {"validate_mojo": "m.zip", "validate_schema": "s.json", "generate_ddl": "s.json", "run_slo_gate": "r.csv"}.get(
        path.stem, "garbage.py"
    )
    target = tmp_path / name
    if kind == "empty folder":
        target = tmp_path / "folder"
        target.mkdir()
    elif kind == "empty":
        target.write_bytes(b"")
    elif kind == "binary":
        target.write_bytes(bytes(range(256)) * 40)
    elif kind == "not utf-8":
        target.write_bytes(b"name: caf\xe9 = (\n\xff\xfe")
    elif kind == "truncated":
        target.write_text('{"a": [1, 2, \n  "def f(:\n')
    elif kind == "link loop":
        target.symlink_to(target)
    elif kind == "huge":
        with open(target, "wb") as handle:
            handle.truncate(1 << 32)
    result = run(path.stem, *before(path), target)
    if (
        path.stem in ("scan_dockerfile", "validate_plan", "check_adr", "check_task", "check_secrets_exposure")
        and result.code == 1
    ):
        assert result.json["findings"]
    elif path.stem == "check_secrets_exposure" and kind in ("truncated", "not utf-8"):
        assert result.code == 0  # any text is its input, whatever the encoding
    elif kind == "empty" and path.stem in EMPTY_IS_SOURCE:
        assert result.code in (0, 1)  # an empty Python file is a module with nothing in it
    else:
        assert result.code in (1, 2, 3) if kind in ("truncated", "not utf-8", "binary", "huge") else result.code in (2, 3), (
            result.out
        )
    assert "Traceback" not in result.err
    jsonschema.validate(result.json, SCHEMA)


EMPTY_IS_SOURCE = {
    "detect_blocking_calls",
    "lint_endpoints",
    "scan_api_security",
    "validate_async_drivers",
    "lint_resilience",
    "check_secrets_exposure",
    "validate_schema_migration",
    "verify_mojo_artifact",
}


@FILES
def test_json_and_sarif_are_alone_on_stdout(path: Path) -> None:
    root = FIXTURES / path.stem
    if not root.is_dir():
        pytest.skip("no fixtures of its own kind")
    target = next(p for p in sorted(root.iterdir()) if p.name != "cases.txt")
    done = run(path.stem, *before(path), target)
    jsonschema.validate(done.json, SCHEMA)
    sarif = json.loads(run(path.stem, *before(path), target, form="sarif").out)
    assert sarif["version"] == "2.1.0" and sarif["runs"][0]["tool"]["driver"]["name"] == path.stem
    assert len(sarif["runs"][0]["results"]) == len(done.json["findings"])


def test_an_unknown_rule_is_bad_usage() -> None:
    assert run("detect_blocking_calls", "--select", "NOPE", FIXTURES).code == 2


def test_ignore_needs_a_reason(tmp_path: Path) -> None:
    source = tmp_path / "a.py"
    body = "import time\nasync def f():\n    time.sleep(1)  # skill: ignore[BLK001]{}\n"
    source.write_text(body.format(""))
    assert run("detect_blocking_calls", source).rules() == {"BLK001", "IGN001"}
    source.write_text(body.format(" start-up only"))
    assert run("detect_blocking_calls", source).code == 0


def test_baseline_lets_old_findings_pass_and_new_ones_fail(tmp_path: Path) -> None:
    source, baseline = tmp_path / "a.py", tmp_path / "b.json"
    source.write_text("import time\nasync def f():\n    time.sleep(1)\n")
    assert run("detect_blocking_calls", source, "--write-baseline", baseline).code == 1
    assert "time" not in baseline.read_text()
    source.write_text("import time\n\n\nasync def f():\n    time.sleep(1)\n")
    assert run("detect_blocking_calls", source, "--baseline", baseline).code == 0
    source.write_text("import time\nasync def f():\n    time.sleep(1)\n    time.sleep(1)\n")
    assert run("detect_blocking_calls", source, "--baseline", baseline).code == 1
    baseline.write_text("[")
    assert run("detect_blocking_calls", source, "--baseline", baseline).code == 2


def test_an_unreadable_file_among_good_ones_is_no_pass(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text("x = 1\n")
    (tmp_path / "bad.py").write_text("def (\n")
    result = run("detect_blocking_calls", tmp_path)
    assert result.code == 2 and result.json["skipped"][0]["path"].endswith("bad.py")


def test_a_fault_of_a_script_is_said_as_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module = load(script("detect_blocking_calls"))

    def broken(*_: object) -> None:
        raise KeyError("x")

    assert module.main(module.TOOL, module.arguments, broken, [str(FIXTURES), "--format", "json"]) == 3
    said = capsys.readouterr()
    document = json.loads(said.out)
    jsonschema.validate(document, SCHEMA)
    assert document["status"] == "not-checked" and "a fault of this script" in document["error"] and "Traceback" not in said.err


def test_a_second_engine_that_is_missing_is_said_aloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import _engines

    monkeypatch.setattr(_engines, "program", lambda name: None)
    (tmp_path / "Dockerfile").write_text('FROM python:3.11-slim\nUSER 10001\nCMD ["a"]\n')
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "a.sql").write_text("SELECT 1;\n")
    for name, engine in {
        "scan_dockerfile": "hadolint",
        "detect_blocking_calls": "ruff",
        "validate_schema_migration": "squawk",
    }.items():
        target = tmp_path / "a.sql" if engine == "squawk" else tmp_path
        result = run(name, target)
        assert result.code == 0 and engine in result.json["partial"][0] and "pip install" in result.json["partial"][0]
        assert run(name, target, "--all-engines").code == 3
        assert "partly skipped" in run(name, target, form="text").out
        notes = json.loads(run(name, target, form="sarif").out)["runs"][0]["invocations"][0]["toolExecutionNotifications"]
        assert any(engine in note["message"]["text"] for note in notes)


def test_runs_without_network_and_without_installed_packages(tmp_path: Path) -> None:
    """The script of an installed skill runs from another folder, by the bare interpreter, with the network cut where that is allowed."""
    source = tmp_path / "a.py"
    source.write_text("x = 1\n")
    command = [sys.executable, "-S", "-E", str(script("detect_blocking_calls")), str(source)]
    if subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0:
        command = ["unshare", "-n", *command]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 0, done.stderr
