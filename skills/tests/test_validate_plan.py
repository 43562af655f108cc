"""Plans: the task graph that other skills read, the template as a plan of its own, and what a writer might get past the validator."""

from __future__ import annotations

from pathlib import Path

from support import SKILLS, run

PLANNER = SKILLS / "architectural-planner"


def test_the_template_is_a_valid_plan_and_gives_its_waves() -> None:
    result = run("validate_plan", PLANNER / "assets/plan_template.md", "--fail-on", "warning")
    assert result.code == 0, result.out
    (plan,) = result.json["data"]["plans"]
    assert plan["waves"] == [["1"], ["2"], ["3"]] and plan["circle"] == []
    assert plan["tasks"][1]["files"]["test"] == ["tests/test_by_key.py"]


def test_the_faults_of_the_evals_plan_are_the_ones_it_is_about() -> None:
    assert run("validate_plan", PLANNER / "evals/files/plan.md").rules() == {"PLN002", "PLN003", "PLN011"}


def test_a_skills_folder_without_skills_is_bad_usage(tmp_path: Path) -> None:
    assert run("validate_plan", PLANNER / "assets/plan_template.md", "--skills", tmp_path).code == 2


def test_a_spec_without_requirements_is_no_pass(tmp_path: Path) -> None:
    spec = tmp_path / "spec.md"
    spec.write_text("# Wishes\n\n- make it fast\n")
    assert run("validate_plan", PLANNER / "assets/plan_template.md", "--spec", spec).code == 2


def test_odd_blocks_are_findings_and_no_traceback(tmp_path: Path) -> None:
    plan = tmp_path / "plan.md"
    for block in ("[1, 2]", "a: &x [*x]", "files: 3", "verify: {run: x}", "depends: {a: 1}", "? [a]\n: b", "a: !!python/object:os.x {}", "x: 2026-99-99", "x: {2026-01-01: 1}"):  # fmt: skip
        plan.write_text(f"# P\n\n### Task 1: odd\n\n```yaml\n{block}\n```\n")
        result = run("validate_plan", plan)
        assert result.code == 1 and "PLN002" in result.rules(), block
