# /// script
# requires-python = ">=3.11"
# dependencies = ["pytest>=8"]
# ///
"""The iron law of test-driven development as a check: no production code without a test that failed before it and passes with it."""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import _git as source

from _report import NotChecked, Report, Rule, Tool, Unusable, main

RULES = (
    Rule("TDD001", "error", "production code changes and no test does", "Write the test that fails without the change, and commit it in the same range."),
    Rule("TDD002", "error", "the new tests pass on the old code, so they prove nothing of the change", "Take the change away, see the test fail for the right reason, put it back."),
    Rule("TDD003", "error", "a test is added that asserts nothing, or that is skipped or expected to fail", "Assert the outcome; let a skip name the missing thing by skipif."),
    Rule("TDD004", "warning", "a changed line that no test runs", "Add the case that reaches it, or delete the line."),
    Rule("TDD005", "error", "the tests fail with the change", "Make them pass before handing over."),
    Rule("TDD006", "warning", "one of the new tests passes on the old code already", "Keep it if it guards what was there; else make it ask for what is new."),
    Rule("TDD007", "error", "tests are deleted and none comes in their place", "Say in the plan what no longer holds; otherwise bring them back."),
)  # fmt: skip
TOOL = Tool("check_tdd", "1.0.0", __doc__ or "", RULES)
ASSERTING = ("assert", "raises", "warns", "expect", "fail", "check", "verify", "approx", "validate")
RUST_TEST = re.compile(r"^\s*#\[(\w+::)*test\b|^\s*#\[cfg\(test\)\]")


@dataclass
class Outcome:
    """One run of tests: pytest's exit code, and for each test whether it passed."""

    code: int
    passed: dict[tuple[str, str], bool]
    tail: str


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repo", nargs="?", default=".", help="the repository (default: here)")
    parser.add_argument("--base", required=True, metavar="COMMIT", help="what the change begins from, e.g. origin/main")
    parser.add_argument("--head", default="HEAD", metavar="COMMIT", help="what it ends in (default: HEAD)")
    parser.add_argument("--test-command", metavar="COMMAND", help="instead of pytest; {tests} stands for the changed test files")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs pytest (default: this one)")
    parser.add_argument("--coverage", metavar="FILE", help="the output of `coverage json` for --head")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for each of the two test runs (default: 300)")


def check(args: argparse.Namespace, report: Report) -> None:
    repo = Path(args.repo)
    if not repo.is_dir():
        raise Unusable(f"{repo}: no such folder")
    top = Path(source.git(repo, "rev-parse", "--show-toplevel").strip())
    head = source.commit(top, args.head)
    base = source.git(top, "merge-base", source.commit(top, args.base), head).strip()
    report.targets.append(f"{base[:12]}..{head[:12]}")
    changes = source.changed(top, base, head)
    if not changes:
        raise Unusable(f"nothing changes between {base[:12]} and {head[:12]}")
    report.scanned = len(changes)
    production = [path for path in changes if source.is_production(path)]
    tests = [path for path, kind in changes.items() if source.is_test(path) and kind != "D"]
    inline = [path for path in production if path.endswith(".rs") and has_rust_test(top, base, head, path)]
    report.data.update(base=base, head=head, production=production, tests=tests, inline_tests=inline)
    if production and not tests and not inline:
        for path in production:
            report.add("TDD001", path, 0, f"{path} changes in {base[:8]}..{head[:8]} and no test does.")
    new = added(report, top, base, head, changes)
    if tests and any(Path(path).suffix in source.CODE for path in tests):
        red_and_green(args, report, top, base, head, tests, new if production else {})
    elif inline:
        report.data["note"] = "tests inside Rust modules are not run on the old code: they cannot be laid over it alone"
    if args.coverage:
        coverage(report, Path(args.coverage), top, base, head, production)


def has_rust_test(top: Path, base: str, head: str, path: str) -> bool:
    return any(RUST_TEST.search(line) for line in source.added_lines(top, base, head, path).values())


def added(report: Report, top: Path, base: str, head: str, changes: dict[str, str]) -> dict[str, set[str]]:
    """Test file -> the tests that are new or changed in it. Their bodies are judged on the way."""
    found: dict[str, set[str]] = {}
    gone: list[tuple[str, str]] = []
    fresh = 0
    for path in changes:
        if not source.is_test(path) or not path.endswith(".py"):
            continue
        old, new = source.tests_of(source.show(top, base, path)), source.tests_of(source.show(top, head, path))
        gone += [(path, name) for name in old if name not in new]
        fresh += sum(name not in old for name in new)
        for name, node in new.items():
            if name in old and ast.dump(old[name]) == ast.dump(node):
                continue
            found.setdefault(path, set()).add(name)
            if why := empty(node):
                report.add("TDD003", path, node.lineno, f"{name} {why}.")
    if len(gone) > fresh:
        path, name = gone[0]
        report.add("TDD007", path, 0, f"{len(gone)} tests go and {fresh} come; {name} is one that goes.")
    return found


def empty(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    """Why a test can prove nothing, if so."""
    for decorator in node.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = ast.unparse(called)
        if name.endswith(("mark.skip", "mark.xfail", "unittest.skip", "expectedFailure")):
            return f"is marked {name.rpartition('.')[2]}"
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assert):
            if not (isinstance(inner.test, ast.Constant) and inner.test.value):
                return None
        elif isinstance(inner, ast.Call):
            name = ast.unparse(inner.func).rpartition(".")[2].lower()
            if name.startswith(ASSERTING) or any(word in name for word in ("assert", "raises")):
                return None
    return "asserts nothing"


def red_and_green(
    args: argparse.Namespace, report: Report, top: Path, base: str, head: str, tests: list[str], new: dict[str, set[str]]
) -> None:
    runnable = [path for path in tests if args.test_command or re.match(r"(test_.*|.*_test)\.py$", Path(path).name)]
    if not runnable:
        report.data["note"] = "no changed test file is pytest's: give --test-command to have them run"
        report.skip(tests[0], "a test that pytest does not run (give --test-command)")
        return
    with source.checkout(top, head) as green:
        after = tried(args, green, runnable)
    if after.code not in (0, 1):
        raise NotChecked(f"the tests could not be run on {head[:8]} (exit {after.code}): {after.tail}")
    if after.code == 1:
        report.add("TDD005", runnable[0], 0, f"the tests fail on {head[:8]}.", evidence=after.tail)
    if not new and not args.test_command:
        return
    with source.checkout(top, base) as old:
        # What the change brings below its test folders comes along: tests, their data and their conftest.
        source.git(old, "checkout", "--quiet", head, "--", *tests)
        before = tried(args, old, runnable)
    if before.code not in (0, 1, 4):
        raise NotChecked(f"the tests could not be run on {base[:8]} (exit {before.code}): {before.tail}")
    report.data["red_exit"], report.data["green_exit"] = before.code, after.code
    if before.code == 0:
        names = [name for some in new.values() for name in sorted(some)]
        report.add("TDD002", runnable[0], 0, f"{', '.join(names[:5]) or 'the tests'} pass on {base[:8]} too.")
        return
    for path, names in new.items():
        for name in sorted(names):
            results = [ok for (file, test), ok in before.passed.items() if file == path and test == name]
            if results and all(results):
                report.add("TDD006", path, 0, f"{name} passes on {base[:8]} already.")
    fresh = {(path, name) for path, names in new.items() for name in names}
    if before.passed and fresh and all(before.passed.get(key, False) for key in fresh):
        report.findings = [f for f in report.findings if f.rule_id != "TDD006"]
        report.add("TDD002", runnable[0], 0, f"each of the new tests passes on {base[:8]}; what fails there are others.")


def tried(args: argparse.Namespace, folder: Path, tests: list[str]) -> Outcome:
    log = folder.parent / "junit.xml"
    log.unlink(missing_ok=True)
    if args.test_command:
        names = " ".join(shlex.quote(path) for path in tests)
        command = ["bash", "-c", args.test_command.replace("{tests}", names)]
    else:
        command = [
            args.python,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--rootdir={folder}",
            "-o",
            "junit_family=xunit1",
            f"--junitxml={log}",
            *tests,
        ]
    # The worktree's own code comes first, before an editable install of the repository.
    paths = [str(folder), str(folder / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    clean = {
        k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_CURRENT", "PYTEST_VERSION", "PYTEST_XDIST", "GIT_"))
    }
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**clean, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            out, _ = process.communicate(timeout=args.timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise NotChecked(f"the tests took more than {args.timeout:g} s") from None
    tail = " | ".join(out.decode(errors="replace").strip().splitlines()[-3:])[-400:]
    if args.test_command:
        return Outcome(0 if process.returncode == 0 else 1, {}, tail)
    if "No module named pytest" in tail:
        raise NotChecked("the engine 'pytest' is missing: pip install pytest, or give --python or --test-command")
    # 2 is pytest's word for an import that failed: on the old code that is a test which fails for want of the new.
    code = 1 if process.returncode == 2 and log.exists() else process.returncode
    return Outcome(code, outcomes(log, tests), tail)


def outcomes(log: Path, tests: list[str]) -> dict[tuple[str, str], bool]:
    """(file, test) -> whether it passed; of a parametrised test, whether each case did."""
    found: dict[tuple[str, str], bool] = {}
    try:
        cases = list(ElementTree.parse(log).iter("testcase"))  # noqa: S314 - pytest has just written it
    except (OSError, ElementTree.ParseError):
        return {}
    modules = {path.removesuffix(".py").replace("/", "."): path for path in tests}
    for case in cases:
        module, owner = case.get("classname", ""), ""
        while module and module not in modules:
            module, _, owner = module.rpartition(".")
        name = case.get("name", "").partition("[")[0]
        key = (modules.get(module, case.get("file") or ""), f"{owner}.{name}" if owner else name)
        passed = not any(child.tag in ("failure", "error", "skipped") for child in case)
        found[key] = found.get(key, True) and passed
    return found


def coverage(report: Report, path: Path, top: Path, base: str, head: str, production: list[str]) -> None:
    text = report.read(path)
    if text is None:
        return
    try:
        measured = {Path(name).as_posix(): set(entry["missing_lines"]) for name, entry in json.loads(text)["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        report.skip(path, f"no output of `coverage json`: {error!r}")
        return
    for name in production:
        if not name.endswith(".py"):
            continue
        lines = sorted(set(source.added_lines(top, base, head, name)) & measured.get(name, set()))
        if name not in measured and (top / name).exists():
            report.add("TDD004", name, 0, f"{name} is not in the coverage data: no test imports it.")
        for line in lines:
            report.add("TDD004", name, line, "no test runs this line.")


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
