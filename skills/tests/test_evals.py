"""The evals of each skill speak the truth: the rules that an expected answer names are what the scripts find in the eval's own files."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from support import SKILLS, load, run, scripts, skills

RULE = re.compile(r"\b[A-Z]{3,5}[0-9]{3}\b")
EVALS = [
    (skill, case)
    for skill in skills()
    for case in json.loads((skill / "evals/evals.json").read_text())["evals"]
    if case["files"] and RULE.search(case["expected_output"])
]


def found(skill: Path, targets: list[Path]) -> set[str]:
    rules: set[str] = set()
    for path in (p for p in scripts() if p.parent.parent == skill):
        module = load(path)
        if path.stem in ("check_db_health", "check_query_plan", "measure_event_loop", "scan_dependencies", "sign_model"):
            continue
        for target in targets:
            report = run(path.stem, target, "--fail-on", "info").json
            assert {f["rule_id"] for f in report["findings"]} <= {r.id for r in module.TOOL.rules} | {"IGN001"}
            rules |= {f["rule_id"] for f in report["findings"]}
    return rules


@pytest.mark.parametrize(("skill", "case"), EVALS, ids=[f"{s.name}-{c['id']}" for s, c in EVALS])
def test_the_rules_that_are_expected_are_found(skill: Path, case: dict) -> None:
    wanted = set(RULE.findall(case["expected_output"]))
    if wanted == {"MOJO016"}:
        pytest.importorskip("cenote", reason="the cenote wheel is not installed")
        model = SKILLS.parent / "fixtures/zoo/gbm_bernoulli/model.zip"
        assert wanted <= run("validate_mojo", model, "--schema", skill / "evals/files/view.json").rules()
        return
    named = [skill / "evals" / name for name in case["files"]]
    assert wanted <= found(skill, [*named, skill / "evals/files"])


def test_every_rule_that_an_eval_names_exists() -> None:
    known = {rule.id for path in scripts() for rule in load(path).TOOL.rules}
    for skill in skills():
        assert set(RULE.findall((skill / "evals/evals.json").read_text())) <= known, skill.name
        assert set(RULE.findall((skill / "SKILL.md").read_text())) <= known | {"IGN001"}, skill.name


def test_the_load_test_of_qas_eval_passes_as_a_whole_and_fails_by_endpoint() -> None:
    stats = SKILLS / "qa/evals/files/run_stats.csv"
    assert run("run_slo_gate", "--results", stats, "--p99-threshold", "50").code == 0
    assert "SLO002" in run("run_slo_gate", "--results", stats, "--p99-threshold", "50", "--endpoint", "/predict=50").rules()


def test_the_gate_of_the_leads_eval_rejects_for_the_sleep(tmp_path: Path) -> None:
    for name in ("gates.yaml", "service.py"):
        shutil.copy(SKILLS / "lead-engineer-orchestrator/evals/files" / name, tmp_path)
    result = run("review_gate", tmp_path / "gates.yaml")
    assert result.code == 1 and "BLK001" in result.out


def test_the_plans_of_the_evals_are_what_their_prompts_say() -> None:
    assert run("validate_plan", SKILLS / "architectural-planner/evals/files/plan.md").code == 1
    assert run("validate_plan", SKILLS / "implementation-worker/evals/files/plan.md").code in (0, 1)
