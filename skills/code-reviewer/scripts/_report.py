"""The one contract of every script in `skills/`: arguments, findings, output, exit codes.

A script declares a `Tool` (its rules), adds its own arguments, and hands a `check(args, report)` function to `main`. What flows out
is text, JSON or SARIF on stdout, alone; whatever else is said goes to stderr. The invariant: exit code 0 is given only when at
least one target was read whole and nothing at or above `--fail-on` was found. This file is copied, byte for byte, from
`skills/_shared/report.py` into each skill as `scripts/_report.py`, since an installed skill travels alone.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import importlib
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

SCHEMA_VERSION = "1.0"
SEVERITIES = ("info", "warning", "error")
MAX_BYTES = 4 * 1024 * 1024
PRUNED = frozenset({
    ".git", ".hg", ".svn", ".tox", ".nox", ".venv", "venv", "node_modules", "__pycache__", ".mypy_cache", ".ruff_cache",
    ".pytest_cache", "site-packages", ".eggs", "target", "build", "dist",
})  # fmt: skip
EXIT_CODES = """exit codes:
  0  something was checked and nothing at or above --fail-on was found
  1  findings at or above --fail-on
  2  bad usage, or input that is absent, empty or unreadable (checking nothing is never a pass)
  3  the check could not be made: an engine, a database or reference data is missing

A finding is silenced on its own line, or on a comment line just above it, by
  # skill: ignore[RULE] the reason, which is required
"""
IGNORE = re.compile(r"(?:#|--|//|<!--|/\*)\s*skill:\s*ignore\[([A-Z0-9_, -]+)\]\s*(.*)")

STAGED = re.compile(
    r"(?:^|[/._-])(?:tests?|testing|testdata|e2e|docs?|docs_src|examples?|samples?|fixtures?|demos?|dev|devel|develop|devcontainer|override|local|ci"
    r"|playwright|gitpod|benchmarks?|hack|mocks?|tutorials?|quickstart)(?=$|[/._-])|(?:^|/)conftest",
    re.I,
)


@dataclass(frozen=True)
class Rule:
    """One thing a tool looks for. `fix` tells what to do about it in one sentence."""

    id: str
    severity: str
    title: str
    fix: str


IGN001 = Rule("IGN001", "warning", "an ignore comment has no reason, so it silences nothing", "Write why after the bracket.")


@dataclass(frozen=True)
class Tool:
    """What a script is: its name, its version, one sentence about it, and its rules."""

    name: str
    version: str
    summary: str
    rules: tuple[Rule, ...]


@dataclass
class Finding:
    rule_id: str
    severity: str
    path: str
    line: int
    column: int
    message: str
    fix: str
    evidence: str | None = None


class Unusable(Exception):
    """The input cannot be used: exit code 2."""


class NotChecked(Exception):
    """The check cannot be made here: exit code 3."""


@dataclass
class Report:
    """Everything a run has learnt. `check` functions fill it by `add`, `read` and `skip`."""

    tool: Tool
    findings: list[Finding] = field(default_factory=list)
    engines: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    scanned: int = 0
    _texts: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rules = {rule.id: rule for rule in self.tool.rules}

    def add(
        self,
        rule_id: str,
        path: str | Path,
        line: int = 0,
        message: str = "",
        *,
        column: int = 0,
        fix: str | None = None,
        evidence: str | None = None,
        severity: str | None = None,
    ) -> None:
        """Record a finding. `line` and `column` count from 1, and 0 means the whole file."""
        rule = self._rules[rule_id]
        self.findings.append(
            Finding(
                rule_id, severity or rule.severity, shown(path), line, column, message or rule.title, fix or rule.fix, evidence
            )
        )

    def skip(self, path: str | Path, reason: str) -> None:
        """Record a file that was asked for and could not be checked. A run with one of these never passes."""
        self.skipped.append({"path": shown(path), "reason": reason})

    def partly(self, what: str) -> None:
        """Record that a second engine did not look. Findings stand without it; `--all-engines` makes a pass of it exit code 3."""
        if what not in self.partial:
            self.partial.append(what)

    def staged(self, path: str | Path) -> bool:
        """Whether a file below its target serves tests, documents, examples or a developer's machine only."""
        name = shown(path)
        below = [name.removeprefix("" if t == "." else f"{t}/") for t in self.targets if t == "." or name.startswith(f"{t}/")]
        return STAGED.search(min(below, key=len) if below else Path(name).name) is not None

    def soften(self, *rules: str) -> None:
        """Make errors of these rules (of all, if none is named) warnings in staged files, where they harm nobody outside."""
        for finding in self.findings:
            if finding.severity == "error" and (not rules or finding.rule_id in rules) and self.staged(finding.path):
                finding.severity = "warning"

    def read(self, path: Path, *, limit: int = MAX_BYTES) -> str | None:
        """The text of a file, or None after noting in `skipped` why there is none."""
        try:
            if not path.is_file():
                raise OSError("not a regular file")
            if path.stat().st_size > limit:
                raise OSError(f"larger than {limit} bytes")
            raw = path.read_bytes()
            if b"\0" in raw:
                raise OSError("binary")
            text = raw.decode("utf-8-sig")
        except (OSError, UnicodeDecodeError, RuntimeError) as error:
            self.skip(path, f"unreadable: {error}")
            return None
        self._texts[shown(path)] = text.splitlines()
        return text

    def lines(self, path: str) -> list[str]:
        if path not in self._texts:
            try:
                self._texts[path] = Path(path).read_bytes()[:MAX_BYTES].decode("utf-8", "replace").splitlines()
            except (OSError, ValueError):
                self._texts[path] = []
        return self._texts[path]


def shown(path: str | Path) -> str:
    """A path as reports show it: relative to the working directory where it lies below it, with forward slashes."""
    text = str(path)
    if os.path.isabs(text):
        inside = os.path.relpath(text)
        text = text if inside.startswith("..") else inside
    return Path(text).as_posix()


def need(module: str, requirement: str) -> ModuleType:
    """Import an engine, or end with exit code 3 and the line that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise NotChecked(f"the engine {module!r} is missing ({error}): pip install '{requirement}'") from None


def files(report: Report, targets: Iterable[str | Path], patterns: Iterable[str], exclude: Iterable[str] = ()) -> Iterator[Path]:
    """The files below `targets` whose name fits a pattern; a target that is itself a file is taken as it is.

    Caches, virtual environments and version control are passed over, links to folders are not followed, and the order is stable.
    """
    wanted, unwanted = tuple(patterns), tuple(exclude)
    for target in targets:
        root = Path(target)
        report.targets.append(shown(root))
        try:
            kind = "file" if root.is_file() else "folder" if root.is_dir() else "other" if root.exists() else "absent"
        except (OSError, RuntimeError) as error:
            raise Unusable(f"{root}: {error}") from None
        if kind == "file":
            yield root
        elif kind == "folder":
            for folder, names, entries in os.walk(root):
                names[:] = sorted(n for n in names if n not in PRUNED and not _fits(os.path.join(folder, n), root, unwanted))
                for entry in sorted(entries):
                    path = Path(folder, entry)
                    if path.is_symlink() and not path.exists():
                        continue  # a link to nothing holds nothing
                    if any(fnmatch.fnmatch(entry, p) for p in wanted) and not _fits(path, root, unwanted):
                        yield path
        else:
            raise Unusable(f"{root}: " + ("no such file or folder" if kind == "absent" else "neither a file nor a folder"))


def _fits(path: str | Path, root: Path, patterns: tuple[str, ...]) -> bool:
    relative = os.path.relpath(path, root).replace(os.sep, "/")
    return any(fnmatch.fnmatch(relative, p) or fnmatch.fnmatch(os.path.basename(relative), p) for p in patterns)


def main(
    tool: Tool,
    arguments: Callable[[argparse.ArgumentParser], None],
    check: Callable[[argparse.Namespace, Report], None],
    argv: list[str] | None = None,
) -> int:
    """Run a tool from its command line and return its exit code."""
    parser = _parser(tool)
    arguments(parser)
    args = parser.parse_args(argv)
    report = Report(tool)
    error: tuple[int, str] | None = None
    known = {rule.id for rule in tool.rules} | {IGN001.id}
    for rule_id in [*args.select, *args.ignore]:
        if not any(name.startswith(rule_id) for name in known):
            parser.error(f"no rule of {tool.name} begins with {rule_id!r}")
    try:
        check(args, report)
    except Unusable as why:
        error = (2, str(why))
    except NotChecked as why:
        error = (3, str(why))
    except RecursionError:
        error = (2, "the input is nested too deeply to be parsed")
    except Exception as why:
        where = traceback.extract_tb(why.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        error = (3, f"a fault of this script, not of what it looked at: {type(why).__name__}: {why} ({place})")
    try:
        kept = _kept(report, args)
    except Unusable as why:
        kept, error = [], (2, str(why))
    failing = [f for f in kept if SEVERITIES.index(f.severity) >= SEVERITIES.index(args.fail_on)]
    if error is None and failing:
        code, status = 1, "fail"
    elif error is None and report.scanned == 0:
        error = (2, "nothing was checked: no target matched or none could be read")
        code, status = 2, "unusable"
    elif error is None and report.skipped:
        error = (2, f"{len(report.skipped)} file(s) could not be checked, so this is no pass")
        code, status = 2, "unusable"
    elif error is None and report.partial and args.all_engines:
        error = (3, "; ".join(report.partial))
        code, status = 3, "not-checked"
    elif error is None:
        code, status = 0, "pass"
    else:
        code, status = error[0], "unusable" if error[0] == 2 else "not-checked"
    printed = kept[: args.limit]
    counts = {level: sum(f.severity == level for f in kept) for level in reversed(SEVERITIES)}
    document = {
        "schema_version": SCHEMA_VERSION,
        "tool": tool.name,
        "tool_version": tool.version,
        "engines": report.engines,
        "targets": report.targets,
        "scanned": report.scanned,
        "skipped": report.skipped,
        "partial": report.partial,
        "findings": [vars(f) for f in printed],
        "summary": {**counts, "total": len(kept), "truncated": len(kept) > len(printed)},
        "status": status,
        "exit_code": code,
        "error": error[1] if error else None,
        "data": report.data,
    }
    try:
        if args.format == "json":
            print(json.dumps(document, indent=2, sort_keys=False, default=str))
        elif args.format == "sarif":
            print(json.dumps(_sarif(tool, printed, report, document), indent=2, default=str))
        else:
            _text(document, printed)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error:
        print(f"{tool.name}: {error[1]}", file=sys.stderr)
    return code


def _parser(tool: Tool) -> argparse.ArgumentParser:
    rules = "\n".join(f"  {r.id} {r.severity:<8} {r.title}" for r in tool.rules)
    parser = argparse.ArgumentParser(
        prog=tool.name + ".py",
        description=tool.summary,
        epilog=f"rules:\n{rules}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = {"type": lambda text: [p.strip() for p in text.split(",") if p.strip()], "default": [], "metavar": "RULE,..."}
    shared = parser.add_argument_group("output")
    shared.add_argument("--format", choices=("text", "json", "sarif"), default="text", help="what stdout holds (default: text)")
    shared.add_argument("--fail-on", choices=SEVERITIES, default="error", help="lowest severity that gives exit code 1")
    shared.add_argument("--select", help="report only these rules or prefixes", **names)
    shared.add_argument("--ignore", help="do not report these rules or prefixes", **names)
    shared.add_argument("--baseline", metavar="FILE", help="pass over the findings recorded in FILE")
    shared.add_argument("--write-baseline", metavar="FILE", help="record this run's findings in FILE (hashes only)")
    shared.add_argument("--all-engines", action="store_true", help="no pass (exit code 3) where a second engine is missing")
    shared.add_argument("--limit", type=int, default=200, help="print at most this many findings (default: 200)")
    parser.add_argument("--version", action="version", version=f"{tool.name} {tool.version}")
    return parser


def _kept(report: Report, args: argparse.Namespace) -> list[Finding]:
    found = [f for f in report.findings if not _silenced(report, f)]
    for path, lines in report._texts.items():
        for number, line in enumerate(lines, 1):
            match = IGNORE.search(line)
            if match and not match[2].strip(" -*/>"):
                found.append(Finding(IGN001.id, IGN001.severity, path, number, 0, IGN001.title, IGN001.fix))
    if args.select:
        found = [f for f in found if f.rule_id.startswith(tuple(args.select))]
    if args.ignore:
        found = [f for f in found if not f.rule_id.startswith(tuple(args.ignore))]
    found.sort(key=lambda f: (f.path, f.line, f.column, f.rule_id, f.message))
    marks = _fingerprints(report, found)
    if args.write_baseline:
        record = {"schema_version": SCHEMA_VERSION, "tool": report.tool.name, "fingerprints": sorted(marks)}
        try:
            Path(args.write_baseline).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise Unusable(f"the baseline cannot be written: {error}") from None
    if args.baseline:
        try:
            known = set(json.loads(Path(args.baseline).read_text(encoding="utf-8"))["fingerprints"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Unusable(f"the baseline {args.baseline} cannot be read: {error}") from None
        found = [f for f, mark in zip(found, marks, strict=True) if mark not in known]
    return found


def _silenced(report: Report, finding: Finding) -> bool:
    if finding.line < 1:
        return False
    lines = report.lines(finding.path)
    for number in (finding.line, finding.line - 1):
        line = lines[number - 1] if 1 <= number <= len(lines) else ""
        if number != finding.line and not line.lstrip().startswith(("#", "--", "//", "<!--", "/*")):
            continue
        match = IGNORE.search(line)
        if match and match[2].strip(" -*/>") and finding.rule_id in [p.strip() for p in match[1].split(",")]:
            return True
    return False


def _fingerprints(report: Report, findings: list[Finding]) -> list[str]:
    """A mark for each finding that survives lines moving: rule, path, the line's own text, and which such line it is."""
    seen: dict[str, int] = {}
    marks = []
    for f in findings:
        lines = report.lines(f.path) if f.line else []
        own = lines[f.line - 1].strip() if 0 < f.line <= len(lines) else f.message
        key = "\0".join((f.rule_id, f.path, own))
        seen[key] = seen.get(key, 0) + 1
        marks.append(hashlib.sha256(f"{key}\0{seen[key]}".encode()).hexdigest())
    return marks


def _text(document: dict[str, Any], findings: list[Finding]) -> None:
    for f in findings:
        place = f.path + (f":{f.line}" if f.line else "") + (f":{f.column}" if f.column else "")
        print(f"{place}: {f.severity} {f.rule_id} {f.message}")
        if f.evidence:
            print(f"    {f.evidence}")
        print(f"    fix: {f.fix}")
    for entry in document["skipped"]:
        print(f"{entry['path']}: not checked: {entry['reason']}")
    for what in document["partial"]:
        print(f"partly skipped: {what}")
    counts = document["summary"]
    if counts["truncated"]:
        print(f"... {counts['total'] - len(findings)} more (--limit)")
    told = ", ".join(f"{counts[level]} {level}" for level in ("error", "warning", "info"))
    print(f"{document['tool']}: {document['status']}: {document['scanned']} checked, {told}")


def _sarif(tool: Tool, findings: list[Finding], report: Report, document: dict[str, Any]) -> dict[str, Any]:
    level = {"error": "error", "warning": "warning", "info": "note"}
    results = []
    for f in findings:
        place: dict[str, Any] = {"artifactLocation": {"uri": f.path}}
        if f.line:
            place["region"] = {"startLine": f.line, **({"startColumn": f.column} if f.column else {})}
        results.append(
            {
                "ruleId": f.rule_id,
                "level": level[f.severity],
                "message": {"text": f"{f.message} {f.fix}"},
                "locations": [{"physicalLocation": place}],
            }
        )
    rules = [
        {
            "id": r.id,
            "shortDescription": {"text": r.title},
            "help": {"text": r.fix},
            "defaultConfiguration": {"level": level[r.severity]},
        }
        for r in (*tool.rules, IGN001)
    ]
    notes = [{"level": "error", "message": {"text": f"{s['path']}: {s['reason']}"}} for s in report.skipped]
    notes += [{"level": "warning", "message": {"text": f"partly skipped: {what}"}} for what in report.partial]
    if document["error"]:
        notes.append({"level": "error", "message": {"text": document["error"]}})
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": tool.name, "version": tool.version, "rules": rules}},
                "invocations": [
                    {
                        "executionSuccessful": document["exit_code"] < 2,
                        "exitCode": document["exit_code"],
                        "toolExecutionNotifications": notes,
                    }
                ],
                "results": results,
            }
        ],
    }
