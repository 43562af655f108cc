"""Each SKILL.md: the format's own validator, then what that leaves out: length, links both ways, evals, copies of shared code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import skills_ref

from support import SKILLS, skills

EACH = pytest.mark.parametrize("skill", skills(), ids=lambda p: p.name)
NAMED = re.compile(r"\b((?:scripts|assets|references)/[A-Za-z0-9_./*-]*[A-Za-z0-9_/])")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


@EACH
def test_the_formats_own_validator_accepts_it(skill: Path) -> None:
    assert skills_ref.validate(skill) == []


@EACH
def test_body_is_short_and_says_what_to_do(skill: Path) -> None:
    text = (skill / "SKILL.md").read_text()
    assert len(text.splitlines()) <= 500
    assert len(text) < 20_000
    assert re.search(r"^description: .{80,}", text, re.M), "what it does and when to use it"


@EACH
def test_every_named_file_exists_and_no_file_is_an_orphan(skill: Path) -> None:
    text = (skill / "SKILL.md").read_text()
    named = {n.rstrip("/") for n in NAMED.findall(text)}
    missing = [n for n in named if not list(skill.glob(n))]
    assert missing == [], "named in SKILL.md and absent"
    for part in ("scripts", "assets", "references"):
        for path in (skill / part).rglob("*"):
            inside = path.relative_to(skill)
            if not path.is_file() or path.name.startswith("_") or "__pycache__" in path.parts or path.suffix == ".pyc":
                continue
            above = {inside.as_posix(), *(p.as_posix() for p in inside.parents)} - {".", part}
            assert above & named, f"{inside} is named nowhere in SKILL.md"


@EACH
def test_links_between_files_hold(skill: Path) -> None:
    for page in skill.rglob("*.md"):
        for link in LINK.findall(page.read_text()):
            assert (page.parent / link).exists(), f"{page.relative_to(skill)} links to {link}"


@EACH
def test_evals_are_whole(skill: Path) -> None:
    record = json.loads((skill / "evals/evals.json").read_text())
    assert record["skill_name"] == skill.name and len(record["evals"]) >= 2
    for number, case in enumerate(record["evals"], 1):
        assert case["id"] == number and len(case["prompt"]) > 30 and len(case["expected_output"]) > 30
        assert all((skill / "evals" / name).exists() for name in case["files"])


def test_copies_of_shared_modules_are_byte_equal() -> None:
    done = subprocess.run([sys.executable, str(SKILLS / "_shared/sync.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
