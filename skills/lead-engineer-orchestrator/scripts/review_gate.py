# /// script
# requires-python = ">=3.11"
# dependencies = ["PyYAML>=6,<7"]
# ///
"""Runs the gates of a change (the other skills' scripts) and gives one verdict: approve, reject, or not checked. Never a pass unread."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _report import SEVERITIES, Finding, NotChecked, Report, Rule, Tool, Unusable, files, main, need, shown

RULES = (
    Rule("GTE001", "error", "a gate fails", "Mend its findings, listed with it; or silence each on its line with a reason."),
    Rule("GTE002", "error", "a gate is not defined rightly", "Give name, skill, script and args, as assets/gates.yaml does."),
    Rule("GTE003", "warning", "a gate that is not required could not be checked", "Install what it lacks, or say in the report why it is left out."),
    Rule("GTE004", "error", "a gate looked at less than it must", "Mend its paths: min_scanned says how many targets there are at least."),
    Rule("GTE005", "error", "a gate's output contradicts its exit code", "Distrust the script: run it by hand."),
)  # fmt: skip
TOOL = Tool("review_gate", "1.0.0", __doc__ or "", RULES)
KEYS = {"name", "skill", "script", "args", "required", "fail_on", "timeout", "min_scanned", "view"}
VIEWS = ("logical", "process", "development", "physical", "scenarios")


@dataclass
class Gate:
    name: str
    script: Path
    args: list[str]
    line: int
    required: bool = True
    fail_on: str = "error"
    timeout: float = 300.0
    min_scanned: int = 1
    view: str | None = None


@dataclass
class Outcome:
    gate: Gate
    status: str = "not-checked"
    why: str = ""
    partial: list[str] = field(default_factory=list)
    scanned: int = 0
    seconds: float = 0.0
    findings: list[dict[str, Any]] = field(default_factory=list)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="GATES", help="a gates file, or a folder that holds gates.yaml")
    parser.add_argument("--root", metavar="DIR", help="where the gates' paths begin (default: the folder of the gates file)")
    parser.add_argument("--skills", metavar="DIR", help="the folder of skills (default: the one that this skill lies in)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="run only this gate; the verdict then covers it alone"
    )
    parser.add_argument("--report", metavar="FILE", help="also write the verdict as Markdown")


def check(args: argparse.Namespace, report: Report) -> None:
    yaml: Any = need("yaml", "PyYAML>=6,<7")
    home = Path(args.skills) if args.skills else Path(__file__).resolve().parents[2]
    outcomes: list[Outcome] = []
    for path in files(report, args.paths, ["gates.yaml", "gates.yml"]):
        text = report.read(path)
        if text is None:
            continue
        root = Path(args.root) if args.root else path.parent
        for gate in defined(yaml, report, path, text, home):
            if not args.only or gate.name in args.only:
                outcomes.append(judged(report, path, run(gate, root), root))
    if args.only and not outcomes:
        raise Unusable(f"no gate is named {' or '.join(args.only)}")
    report.scanned += sum(outcome.status in ("pass", "fail") for outcome in outcomes)
    worst = SEVERITIES.index(args.fail_on)
    failed = any(SEVERITIES.index(f.severity) >= worst for f in report.findings)
    open_ones = [o for o in outcomes if o.status == "not-checked" and o.gate.required]
    unsure = open_ones or report.skipped or not outcomes or (args.all_engines and report.partial)
    verdict = "reject" if failed else "not checked" if unsure else "approve"
    if args.only and verdict == "approve":
        verdict = "approve (of the gates named)"
    report.data.update(
        verdict=verdict,
        gates=[
            {"name": o.gate.name, "view": o.gate.view, "status": o.status, "required": o.gate.required, "scanned": o.scanned,
             "findings": len(o.findings), "seconds": round(o.seconds, 2), "why": o.why}
            for o in outcomes
        ],
    )  # fmt: skip
    if args.report:
        write(Path(args.report), verdict, outcomes, report)
    if open_ones and not failed:
        raise NotChecked("; ".join(f"gate {o.gate.name!r}: {o.why}" for o in open_ones))


def defined(yaml: Any, report: Report, path: Path, text: str, home: Path) -> list[Gate]:
    """The gates of a file, the wrong ones reported."""
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ValueError("aliases are not read")
        document, node = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        report.skip(path, f"no YAML: {' '.join(str(error).split())[:200]}")
        return []
    listed = document.get("gates") if isinstance(document, dict) else None
    if not isinstance(listed, list) or not listed:
        report.skip(path, "no list `gates`")
        return []
    nodes = next(value for key, value in node.value if key.value == "gates").value
    out: list[Gate] = []
    for entry, at in zip(listed, nodes, strict=True):
        line = 1 + at.start_mark.line
        why = wrong(entry, {gate.name for gate in out}, home)
        if why:
            report.add("GTE002", path, line, why)
            continue
        more = {key: entry[key] for key in ("required", "fail_on", "timeout", "min_scanned", "view") if key in entry}
        out.append(Gate(entry["name"], place(home, entry), [str(a) for a in entry.get("args", [])], line, **more))
    return out


def wrong(entry: Any, names: set[str], home: Path) -> str | None:
    if not isinstance(entry, dict) or not all(isinstance(entry.get(k), str) and entry[k] for k in ("name", "skill", "script")):
        return "a gate has a name, a skill and a script."
    if unknown := {str(k) for k in entry} - KEYS:
        return f"gate {entry['name']!r}: nothing reads {', '.join(sorted(unknown))}."
    if entry["name"] in names:
        return f"two gates are named {entry['name']!r}."
    if not isinstance(entry.get("args", []), list) or not all(isinstance(a, (str, int, float)) for a in entry.get("args", [])):
        return f"gate {entry['name']!r}: args is a list of words."
    if entry.get("fail_on", "error") not in SEVERITIES or entry.get("view", VIEWS[0]) not in VIEWS:
        return f"gate {entry['name']!r}: fail_on is one of {', '.join(SEVERITIES)}, view one of {', '.join(VIEWS)}."
    if type(entry.get("required", True)) is not bool or any(
        isinstance(entry.get(k, 1), bool) or not isinstance(entry.get(k, 1), (int, float)) or entry.get(k, 1) <= 0
        for k in ("timeout", "min_scanned")
    ):
        return f"gate {entry['name']!r}: required is true or false, timeout and min_scanned are numbers above 0."
    if "/" in entry["skill"] or "/" in entry["script"] or not (home / entry["skill"] / "SKILL.md").is_file():
        return f"gate {entry['name']!r}: {home.name}/ has no skill {entry['skill']!r}."
    if not place(home, entry).is_file():
        return f"gate {entry['name']!r}: {entry['skill']} has no script {entry['script']!r}."
    return None


def place(home: Path, entry: dict[str, Any]) -> Path:
    return home / entry["skill"] / "scripts" / (entry["script"].removesuffix(".py") + ".py")


def run(gate: Gate, root: Path) -> Outcome:
    """One script as a user would run it. Whatever it does, this gives an outcome."""
    outcome = Outcome(gate)
    command = [
        sys.executable,
        str(gate.script.resolve()),
        *gate.args,
        "--format",
        "json",
        "--limit",
        "1000",
        "--fail-on",
        gate.fail_on,
    ]
    start = time.monotonic()
    try:
        process = subprocess.Popen(
            command, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
    except OSError as error:
        outcome.why = f"cannot be started: {error}"
        return outcome
    with process:
        try:
            out, err = process.communicate(timeout=gate.timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            outcome.why = f"took more than {gate.timeout:g} s"
            return outcome
    outcome.seconds = time.monotonic() - start
    try:
        document = json.loads(out)
        outcome.scanned, outcome.findings = int(document["scanned"]), list(document["findings"])
        outcome.partial = [str(what) for what in document.get("partial", [])]
        told = (str(document["status"]), int(document["exit_code"]), document["tool"])
    except (ValueError, KeyError, TypeError):
        said = err.decode(errors="replace").strip().splitlines()
        outcome.why = f"gave no report (exit {process.returncode}): {said[-1][:200] if said else 'nothing said'}"
        return outcome
    agrees = told[1] == process.returncode and told[2] == gate.script.stem and (told[0] == "pass") == (told[1] == 0)
    if not agrees:
        outcome.status, outcome.why = "contradicts", f"exit {process.returncode}, and it says {told[0]} with {told[1]}"
    elif told[1] in (0, 1):
        outcome.status = told[0]
    else:
        outcome.why = str(document.get("error") or told[0])
    return outcome


def judged(report: Report, path: Path, outcome: Outcome, root: Path) -> Outcome:
    """Put a gate's outcome, and what it found, into the one report."""
    gate = outcome.gate
    if outcome.status == "contradicts":
        report.add("GTE005", path, gate.line, f"gate {gate.name!r}: {outcome.why}.")
    elif outcome.status == "fail":
        report.add("GTE001", path, gate.line, f"gate {gate.name!r} fails with {len(outcome.findings)} findings.")
    elif outcome.status == "not-checked" and not gate.required:
        report.add("GTE003", path, gate.line, f"gate {gate.name!r}: {outcome.why}")
    elif outcome.status == "pass" and outcome.scanned < gate.min_scanned:
        outcome.status = "fail"
        report.add("GTE004", path, gate.line, f"gate {gate.name!r} looked at {outcome.scanned} of at least {gate.min_scanned}.")
    for what in outcome.partial:
        report.partly(f"gate {gate.name!r}: {what}")
    for f in outcome.findings:
        where = str(f["path"])
        if not os.path.isabs(where):
            where = os.path.normpath(root / where)
        report.findings.append(
            Finding(
                f["rule_id"],
                f["severity"],
                shown(where),
                f["line"],
                f["column"],
                f"[{gate.name}] {f['message']}",
                f["fix"],
                f["evidence"],
            )
        )
    return outcome


def write(path: Path, verdict: str, outcomes: list[Outcome], report: Report) -> None:
    """The verdict for people: first what was decided, then each gate, then each finding."""
    lines = [
        f"# Review gate: {verdict}",
        "",
        "| gate | view | status | looked at | findings | note |",
        "|---|---|---|---|---|---|",
    ]
    for o in outcomes:
        note = (
            "; ".join([o.why, *(f"partly skipped: {what}" for what in o.partial)])
            .strip("; ")
            .replace("|", "\\|")
            .replace("\n", " ")
        )
        status = o.status if o.gate.required else f"{o.status} (not required)"
        lines.append(f"| {o.gate.name} | {o.gate.view or ''} | {status} | {o.scanned} | {len(o.findings)} | {note} |")
    for severity in reversed(SEVERITIES):
        some = [f for f in report.findings if f.severity == severity]
        if some:
            lines += ["", f"## {severity.capitalize()}s", ""]
            lines += [f"- `{f.path}{f':{f.line}' if f.line else ''}` {f.rule_id}: {f.message} *{f.fix}*" for f in some]
    try:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise Unusable(f"the report cannot be written: {error}") from None


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
