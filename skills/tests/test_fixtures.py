"""Each script over its own fixtures: findings and annotations are compared as sets, so a miss and a false alarm both fail.

`fixtures/<script>/` is one run for scripts that read a tree; with a `cases.txt` (one line a run: a folder or file, then arguments),
each line is a run of its own. Each rule of each script must be seen in some fixture, and each script must have one clean run.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from support import FIXTURES, expected, load, run, scripts, seen


def cases(name: str) -> list[tuple[Path, list[str]]]:
    root = FIXTURES / name
    listed = root / "cases.txt"
    if not listed.exists():
        return [(p, []) for p in sorted(root.iterdir())]
    out = []
    for line in listed.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            target, *more = shlex.split(line)
            out.append((root / target, [a.replace("{here}", str(root)) for a in more]))
    return out


def names() -> list[str]:
    return sorted(p.stem for p in scripts() if (FIXTURES / p.stem).is_dir())


@pytest.mark.parametrize("name", names())
def test_findings_are_exactly_the_annotated_ones(name: str) -> None:
    clean = 0
    for target, more in cases(name):
        arguments = more if any(str(target) in a for a in more) else [str(target), *more]
        result = run(name, *arguments, "--fail-on", "info")
        want, got = expected(target), seen(result)
        assert got == want, f"{target.name}: missed {sorted(want - got)}, false {sorted(got - want)}\n{result.err}"
        assert result.code == (1 if want else 0), f"{target.name}: exit {result.code}\n{result.err}"
        clean += not want
    assert clean, f"{name} has no clean fixture"


@pytest.mark.parametrize("path", scripts(), ids=lambda p: p.stem)
def test_each_rule_is_seen_failing(path: Path) -> None:
    rules = {rule.id for rule in load(path).TOOL.rules}
    root = FIXTURES / path.stem
    shown = {rule for _, _, rule in expected(root)} if root.is_dir() else set()
    tests = Path(__file__).parent
    elsewhere = {rule for rule in rules for test in tests.glob(f"test_{path.stem}*.py") if f'"{rule}"' in test.read_text()}
    assert rules - shown - elsewhere == set(), "rules with no failing fixture"
