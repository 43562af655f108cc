"""Copy the shared modules into each skill that imports them; `--check` only tells which copies differ.

A skill folder is installed alone, so its scripts may import nothing from outside it. One source, exact copies: a script that
says `from _report import ...` gets `_shared/report.py` beside it as `_report.py`, and so do the modules that one imports.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

HERE = Path(__file__).parent
SHARED = {f"_{path.stem}": path for path in HERE.glob("*.py") if path.stem != "sync"}


def imported(path: Path) -> set[str]:
    """The shared modules that a file imports, at any depth."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = (
            [node.module]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else []
        )
        found |= {name for name in names if name in SHARED}
    for name in list(found):
        found |= imported(SHARED[name])
    return found


def differing(*, write: bool) -> list[Path]:
    """The copies that are stale, missing or no longer wanted; with `write`, after mending them."""
    stale = []
    for scripts in sorted(HERE.parent.glob("*/scripts")):
        wanted: set[str] = set()
        for script in scripts.glob("*.py"):
            if script.stem not in SHARED:
                wanted |= imported(script)
        for name, source in SHARED.items():
            copy = scripts / f"{name}.py"
            right = source.read_bytes() if name in wanted else None
            if (copy.read_bytes() if copy.exists() else None) != right:
                stale.append(copy)
                if write and right is None:
                    copy.unlink()
                elif write and right is not None:
                    copy.write_bytes(right)
    return stale


if __name__ == "__main__":
    only_check = sys.argv[1:] == ["--check"]
    changed = differing(write=not only_check)
    for path in changed:
        print(("stale: " if only_check else "wrote: ") + str(path.relative_to(HERE.parent)))
    raise SystemExit(1 if only_check and changed else 0)
