"""What the tests of every skill share: finding scripts, running one in this process, and reading `expect:` annotations."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

SKILLS = Path(__file__).resolve().parent.parent
FIXTURES = Path(__file__).resolve().parent / "fixtures"
EXPECT = re.compile(r"expect:\s*([A-Z]+[0-9]{3}(?:\s*,\s*[A-Z]+[0-9]{3})*)")


def skills() -> list[Path]:
    return sorted(p.parent for p in SKILLS.glob("*/SKILL.md"))


def scripts() -> list[Path]:
    return sorted(p for p in SKILLS.glob("*/scripts/*.py") if not p.name.startswith("_"))


def script(name: str) -> Path:
    (path,) = SKILLS.glob(f"*/scripts/{name}.py")
    return path


def load(path: Path) -> ModuleType:
    """Import a script as its own module; its copies of the shared modules are byte-equal, so whichever came first serves."""
    name = f"skill_{path.parent.parent.name.replace('-', '_')}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    sys.path.insert(0, str(path.parent))
    try:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


@dataclass
class Run:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)

    def rules(self) -> set[str]:
        return {f["rule_id"] for f in self.json["findings"]}


def run(name: str, *argv: str | Path, form: str = "json") -> Run:
    """Run a script's `main` in this process with `--format json`, as a user would from a shell."""
    module = load(script(name))
    out, err = io.StringIO(), io.StringIO()
    line = [str(a) for a in argv] + ["--format", form, "--limit", "100000"]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = module.main(module.TOOL, module.arguments, module.check, line)
        except SystemExit as end:
            code = int(end.code or 0)
    assert "a fault of this script" not in err.getvalue(), err.getvalue()
    return Run(code, out.getvalue(), err.getvalue())


def expected(root: Path) -> set[tuple[str, int, str]]:
    """The annotated findings below `root`: (file, line, rule). `expect.txt` holds `RULE file [line]` where a comment cannot stand."""
    found: set[tuple[str, int, str]] = set()
    for path in sorted([root] if root.is_file() else root.rglob("*")):
        if not path.is_file():
            continue
        if path.name == "expect.txt":
            for line in path.read_text().splitlines():
                rule, name, *number = line.split()
                found.add(((path.parent / name).resolve().as_posix(), int(number[0]) if number else 0, rule))
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for match in EXPECT.finditer(line):
                found |= {(path.resolve().as_posix(), number, rule.strip()) for rule in match[1].split(",")}
    return found


def seen(result: Run) -> set[tuple[str, int, str]]:
    return {(Path(f["path"]).resolve().as_posix(), f["line"], f["rule_id"]) for f in result.json["findings"]}
