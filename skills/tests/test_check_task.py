"""A task's proofs, files, evidence and steps, on a small repository."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from test_check_tdd import change, git

from support import SKILLS, Run, run

PLAN = """# One task

### Task 1: first

- [x] done long ago

### Task 2: second

```yaml
files: {create: [app/new.py], modify: [old.py, docs/]}
depends: ["1"]
verify:
  - run: python3 -c 'print(6 * 7)' | cat
    expect: "42"
  - run: grep -c new app/new.py
    expect: "1"
done:
  - It answers `42`.
  - Nothing else changed.
```

- [x] Write it.
"""
REPORT = "# Report\n\n- [x] It answers **42**.\n\n  Evidence: proof 1\n- Nothing else changed.\n  Evidence: git status\n"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    home = tmp_path / "repo"
    home.mkdir()
    git(home, "init", "-q", "-b", "main")
    change(home, {"old.py": "x = 1\n", "docs/a.md": "a\n"})
    (home / "app").mkdir()
    (home / "app/new.py").write_text("new = 1\n")
    (home / "old.py").write_text("x = 2\n")
    (home / "docs/a.md").write_text("b\n")
    (home / "plan.md").write_text(PLAN)
    (home / "report.md").write_text(REPORT)
    return home


def checked(repo: Path, plan: str = PLAN, *more: str) -> Run:
    (repo / "plan.md").write_text(plan)
    return run("check_task", repo / "plan.md", "--task", "2", "--repo", repo, "--report", repo / "report.md", *more)


def test_a_finished_task_passes_committed_or_not(repo: Path) -> None:
    result = checked(repo, PLAN, "--fail-on", "warning")
    assert result.code == 0, result.out + result.err
    assert [p["met"] for p in result.json["data"]["proofs"]] == [True, True]
    base = git(repo, "rev-parse", "HEAD").strip()
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "done")
    assert checked(repo, PLAN, "--base", base).code == 0
    assert checked(repo).code == 2, "nothing changed since HEAD is no pass"


@pytest.mark.parametrize(
    ("old", "new", "rules"),
    [
        ("expect: \"42\"", "expect: \"43\"", {"TSK002"}),
        ("print(6 * 7)", "raise SystemExit(3)", {"TSK002"}),
        ("grep -c new app/new.py", "sleep 60\n    timeout: 0.3", {"TSK003"}),
        ("modify: [old.py, docs/]", "modify: [docs/]", {"TSK004"}),
        ("modify: [old.py, docs/]", "modify: [old.py, docs/, absent.py]", {"TSK005"}),
        ("  - Nothing else changed.", "  - Nothing at all changed.", {"TSK006"}),
        ("- [x] Write it.", "- [ ] Write it.", {"TSK007"}),
        ("- [x] done long ago", "- [ ] done some day", {"TSK009"}),
        ("done:", "do_ne:", {"TSK001"}),
        ("expect: \"1\"", "expect: ''", {"TSK001"}),
    ],
)  # fmt: skip
def test_each_fault(repo: Path, old: str, new: str, rules: set[str]) -> None:
    result = checked(repo, PLAN.replace(old, new), "--fail-on", "warning")
    assert result.rules() == rules and result.code == 1, result.out


def test_a_placeholder_left_behind(repo: Path) -> None:
    (repo / "app/new.py").write_text("new = 1  # TODO: the rest\n")
    (repo / "old.py").write_text("x = 'TODO list'\n")
    result = checked(repo, PLAN, "--fail-on", "warning")
    assert [(f["rule_id"], f["line"]) for f in result.json["findings"]] == [("TSK008", 1)]


def test_bad_usage(repo: Path, tmp_path: Path) -> None:
    plan = repo / "plan.md"
    assert run("check_task", plan, "--repo", repo).code == 2, "two tasks and none chosen"
    assert run("check_task", plan, "--repo", repo, "--task", "9").code == 2
    assert run("check_task", plan, "--repo", repo, "--task", "2", "--base", "nosuch").code == 2
    assert run("check_task", plan, "--repo", repo / "docs", "--task", "2").code == 2
    assert run("check_task", plan, "--repo", tmp_path, "--task", "2").code == 2
    assert run("check_task", plan, "--repo", repo, "--task", "2", "--report", repo / "absent").code == 1, (
        "the steps after still run"
    )


def test_the_templates_are_valid(tmp_path: Path) -> None:
    worker = SKILLS / "implementation-worker"
    for name in ("assets/task_template.md", "evals/files/plan.md"):
        shutil.copy(worker / name, tmp_path / "plan.md")
        assert run("validate_plan", tmp_path / "plan.md", "--fail-on", "warning").code == 0
