"""The verdict: what approves, what rejects, and that a gate which was not run never counts as passed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from support import SKILLS, run

GATE = "gates:\n  - {name: one, skill: liar, script: lie, args: []}\n"
LEAD = SKILLS / "lead-engineer-orchestrator"


def skill(home: Path, body: str) -> Path:
    (home / "skills/liar/scripts").mkdir(parents=True)
    (home / "skills/liar/SKILL.md").write_text("---\nname: liar\n---\n")
    (home / "skills/liar/scripts/lie.py").write_text(body)
    (home / "gates.yaml").write_text(GATE)
    return home / "skills"


@pytest.mark.parametrize(
    ("body", "code", "verdict"),
    [
        ("print('all good')", 3, "not checked"),
        ("import no_such_module", 3, "not checked"),
        ("raise SystemExit(0)", 3, "not checked"),
        ("print('[]')", 3, "not checked"),
        ("import json; print(json.dumps(dict(tool='lie', status='pass', exit_code=0, scanned=3, findings=[]))); raise SystemExit(1)", 1, "reject"),
        ("import json; print(json.dumps(dict(tool='other', status='pass', exit_code=0, scanned=3, findings=[])))", 1, "reject"),
        ("import json; print(json.dumps(dict(tool='lie', status='pass', exit_code=0, scanned=0, findings=[])))", 1, "reject"),
        ("import json; print(json.dumps(dict(tool='lie', status='not-checked', exit_code=3, scanned=0, findings=[], error='no engine'))); raise SystemExit(3)", 3, "not checked"),
        ("import json; print(json.dumps(dict(tool='lie', status='pass', exit_code=0, scanned=3, findings=[])))", 0, "approve"),
    ],
)  # fmt: skip
def test_only_a_pass_that_agrees_with_itself_approves(tmp_path: Path, body: str, code: int, verdict: str) -> None:
    result = run("review_gate", tmp_path, "--skills", skill(tmp_path, body))
    assert (result.code, result.json["data"]["verdict"]) == (code, verdict), result.out
    if code == 1:
        assert result.rules() <= {"GTE004", "GTE005"}


def test_a_second_engine_that_a_gate_lacks_is_told_on(tmp_path: Path) -> None:
    body = "import json; print(json.dumps(dict(tool='lie', status='pass', exit_code=0, scanned=3, findings=[], partial=['ruff did not look'])))"
    home = skill(tmp_path, body)
    result = run("review_gate", tmp_path, "--skills", home, "--report", tmp_path / "r.md")
    assert (result.code, result.json["data"]["verdict"]) == (0, "approve")
    assert (
        result.json["partial"] == ["gate 'one': ruff did not look"] and "partly skipped: ruff" in (tmp_path / "r.md").read_text()
    )
    result = run("review_gate", tmp_path, "--skills", home, "--all-engines")
    assert (result.code, result.json["data"]["verdict"]) == (3, "not checked")


def test_a_gate_that_hangs_is_not_checked(tmp_path: Path) -> None:
    home = skill(tmp_path, "import time; time.sleep(60)")
    (tmp_path / "gates.yaml").write_text(GATE.replace("args", "timeout: 0.5, args"))
    result = run("review_gate", tmp_path, "--skills", home)
    assert result.code == 3 and "0.5 s" in result.json["error"]


def test_the_report_begins_with_the_verdict(tmp_path: Path) -> None:
    out = tmp_path / "review.md"
    result = run("review_gate", LEAD / "evals/files", "--report", out)
    assert result.code == 1 and result.rules() == {"GTE001", "BLK001"}
    text = out.read_text()
    assert text.startswith("# Review gate: reject\n") and "service.py:5` BLK001" in text
    assert run("review_gate", LEAD / "evals/files", "--report", tmp_path / "no/x.md").code == 2


def test_only_some_gates(tmp_path: Path) -> None:
    assert run("review_gate", LEAD / "evals/files", "--only", "nothing").code == 2


def test_the_template_names_scripts_that_exist(tmp_path: Path) -> None:
    gates = yaml.safe_load((LEAD / "assets/gates.yaml").read_text())["gates"]
    assert len(gates) == 15
    for gate in gates:
        assert (SKILLS / gate["skill"] / "scripts" / f"{gate['script']}.py").exists(), gate
