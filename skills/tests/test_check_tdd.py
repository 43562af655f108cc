"""The iron law on small repositories: red on the old code, green on the new, and each way around it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from support import Run, run

OLD = "def double(x):\n    return x + x\n"
NEW = OLD + "\n\ndef half(x):\n    return x / 2\n"
TEST = "from app import half\n\n\ndef test_half():\n    assert half(4) == 2\n"


def git(repo: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, "-C", repo, *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # the runs inside these tests need no plugin, and start faster
    home = tmp_path / "repo"
    home.mkdir()
    git(home, "init", "-q", "-b", "main")
    change(
        home,
        {"app.py": OLD, "tests/test_double.py": "from app import double\n\n\ndef test_double():\n    assert double(2) == 4\n"},
    )
    return home


def change(repo: Path, files: dict[str, str | None]) -> None:
    for name, text in files.items():
        path = repo / name
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "change")


def checked(repo: Path, *more: str) -> Run:
    return run("check_tdd", repo, "--base", "HEAD~1", *more)


def test_red_then_green_passes_and_leaves_no_worktree(repo: Path) -> None:
    change(repo, {"app.py": NEW, "tests/test_half.py": TEST})
    result = checked(repo, "--fail-on", "warning")
    assert result.code == 0, result.out + result.err
    assert result.json["data"]["red_exit"] == 1 and result.json["data"]["green_exit"] == 0
    assert git(repo, "worktree", "list").count("\n") == 1


def test_code_without_test(repo: Path) -> None:
    change(repo, {"app.py": NEW, "README.md": "half"})
    assert checked(repo).rules() == {"TDD001"}


def test_words_alone_need_no_test(repo: Path) -> None:
    change(repo, {"README.md": "double"})
    assert checked(repo).code == 0


def test_a_test_that_the_old_code_passes(repo: Path) -> None:
    change(repo, {"app.py": NEW, "tests/test_half.py": "import app\n\n\ndef test_it():\n    assert app.double(1) == 2\n"})
    assert checked(repo).rules() == {"TDD002"}


def test_one_of_two_tests_is_no_news(repo: Path) -> None:
    both = "import app\n\n\nclass TestApp:\n    def test_old(self):\n        assert app.double(1) == 2\n\n    def test_new(self):\n        assert app.half(2) == 1\n"
    change(repo, {"app.py": NEW, "tests/test_half.py": both})
    result = checked(repo, "--fail-on", "warning")
    assert result.rules() == {"TDD006"} and "TestApp.test_old" in result.json["findings"][0]["message"]


def test_tests_that_prove_nothing(repo: Path) -> None:
    body = "import pytest\nfrom app import half\n\n\ndef test_a():\n    half(2)\n\n\n@pytest.mark.skip(reason='later')\ndef test_b():\n    assert half(2) == 1\n\n\ndef test_c():\n    assert True\n\n\ndef test_d():\n    with pytest.raises(TypeError):\n        half('a')\n"
    change(repo, {"app.py": NEW, "tests/test_half.py": body})
    found = [f["message"] for f in checked(repo).json["findings"] if f["rule_id"] == "TDD003"]
    assert found == ["test_a asserts nothing.", "test_b is marked skip.", "test_c asserts nothing."]


def test_red_on_both_sides(repo: Path) -> None:
    change(repo, {"app.py": NEW, "tests/test_half.py": TEST.replace("== 2", "== 3")})
    assert "TDD005" in checked(repo).rules()


def test_tests_that_go(repo: Path) -> None:
    change(repo, {"app.py": NEW, "tests/test_double.py": None})
    assert checked(repo).rules() == {"TDD001", "TDD007"}


def test_lines_that_no_test_runs(repo: Path, tmp_path: Path) -> None:
    change(repo, {"app.py": NEW + "\n\ndef third(x):\n    return x / 3\n", "tests/test_half.py": TEST})
    data = tmp_path / "coverage.json"
    data.write_text(json.dumps({"files": {"app.py": {"missing_lines": [2, 10]}}}))
    found = checked(repo, "--coverage", str(data)).json["findings"]
    assert [(f["rule_id"], f["line"]) for f in found] == [("TDD004", 10)]
    data.write_text("[]")
    assert checked(repo, "--coverage", str(data)).code == 2


def test_an_own_test_command(repo: Path) -> None:
    change(repo, {"app.py": NEW, "tests/half.sh": "grep -q half app.py\n"})
    assert checked(repo, "--test-command", "bash {tests}").code == 0
    assert checked(repo).code == 2, "without a command nobody has run that test"
    change(repo, {"app.py": NEW + "\n", "tests/half.sh": "true\n"})
    assert checked(repo, "--test-command", "bash {tests}").rules() == {"TDD002"}


def test_what_cannot_be_checked(repo: Path, tmp_path: Path) -> None:
    change(
        repo,
        {
            "app.py": NEW,
            "tests/test_half.py": "import time\nimport app\n\n\ndef test_half():\n    time.sleep(60)\n    assert app.half(2)\n",
        },
    )
    assert checked(repo, "--timeout", "2").code == 3
    assert run("check_tdd", repo, "--base", "HEAD").code == 2, "no change is no pass"
    assert run("check_tdd", repo, "--base", "nosuch").code == 2
    assert run("check_tdd", repo, "--base=--output=x").code == 2
    assert run("check_tdd", tmp_path / "absent", "--base", "HEAD").code == 2
    assert run("check_tdd", tmp_path, "--base", "HEAD").code == 2
