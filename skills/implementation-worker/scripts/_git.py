"""What changed between two commits of a repository, and a checkout of one of them in a folder of its own. Git itself is asked."""

from __future__ import annotations

import ast
import contextlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from _report import NotChecked, Unusable

CODE = frozenset({".py", ".rs", ".ts", ".tsx", ".js", ".jsx", ".go", ".java", ".sql", ".c", ".cc", ".cpp", ".h", ".sh"})
TEST_NAME = re.compile(r"(^test_|_test\.|\.test\.|\.spec\.|^conftest\.py$|Test\.java$)")
TEST_FOLDER = frozenset({"test", "tests", "__tests__", "testing"})
HUNK = re.compile(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@")


def git(repo: Path, *words: str) -> str:
    """The output of a git command in `repo`."""
    try:
        done = subprocess.run(["git", "-C", str(repo), *words], capture_output=True, timeout=120)
    except FileNotFoundError:
        raise NotChecked("git is not installed") from None
    except subprocess.TimeoutExpired:
        raise NotChecked(f"git {words[0]} took more than two minutes") from None
    if done.returncode:
        raise Unusable(f"git {words[0]}: {done.stderr.decode(errors='replace').strip()[:300]}")
    return done.stdout.decode("utf-8", "surrogateescape")


def commit(repo: Path, name: str) -> str:
    """The full id of a commit by any name that git takes."""
    if name.startswith("-"):
        raise Unusable(f"{name!r} is no commit")
    return git(repo, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip()


def changed(repo: Path, base: str, head: str | None) -> dict[str, str]:
    """Path -> A, M or D since `base`; with no `head`, up to the working folder, files that git does not know yet among them."""
    words = ["diff", "--name-status", "--no-renames", "-z", base, *([head] if head else []), "--"]
    parts = git(repo, *words).split("\0")
    found = {path: kind[0] for kind, path in zip(parts[0::2], parts[1::2], strict=False) if path}
    if head is None:
        for path in git(repo, "ls-files", "--others", "--exclude-standard", "-z").split("\0"):
            if path:
                found[path] = "A"
    return found


def added_lines(repo: Path, base: str, head: str | None, path: str) -> dict[int, str]:
    """Line number -> text of the lines that a file has gained."""
    text = git(repo, "diff", "--no-renames", "--no-color", "--no-ext-diff", "-U0", base, *([head] if head else []), "--", path)
    out: dict[int, str] = {}
    at = 0
    for line in text.splitlines():
        if match := HUNK.match(line):
            at = int(match[1])
        elif at and line.startswith("+"):
            out[at] = line[1:]
            at += 1
    if not text and head is None and (repo / path).is_file():
        with contextlib.suppress(UnicodeDecodeError, OSError):
            out = dict(enumerate((repo / path).read_text(encoding="utf-8").splitlines(), 1))
    return out


def show(repo: Path, ref: str, path: str) -> str | None:
    """A file's text as of a commit; None where it is not there."""
    try:
        return git(repo, "show", f"{ref}:{path}")
    except Unusable:
        return None


def is_test(path: str) -> bool:
    inside = PurePosixPath(path)
    return bool(TEST_NAME.search(inside.name)) or bool(TEST_FOLDER & set(inside.parts[:-1]))


def is_production(path: str) -> bool:
    return PurePosixPath(path).suffix in CODE and not is_test(path)


@contextlib.contextmanager
def checkout(repo: Path, ref: str) -> Iterator[Path]:
    """A worktree of `ref` in a temporary folder, taken away at the end."""
    home = Path(tempfile.mkdtemp(prefix="worktree"))
    try:
        git(repo, "worktree", "add", "--quiet", "--detach", str(home / "at"), ref)
        yield home / "at"
    finally:
        subprocess.run(["git", "-C", str(repo), "worktree", "remove", "--force", str(home / "at")], capture_output=True)
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run(["git", "-C", str(repo), "worktree", "prune"], capture_output=True)


def tests_of(text: str | None) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    """pytest's tests in a module: `name` or `Class.name` -> its definition. Empty where the text is no Python."""
    try:
        tree = ast.parse(text or "")
    except (SyntaxError, ValueError, RecursionError):
        return {}
    found: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
    for node in tree.body:
        for inner, prefix in [(node, "")] if not isinstance(node, ast.ClassDef) else [(n, f"{node.name}.") for n in node.body]:
            if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)) and inner.name.startswith("test"):
                found[prefix + inner.name] = inner
    return found
