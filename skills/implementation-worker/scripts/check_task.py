# /// script
# requires-python = ">=3.11"
# dependencies = ["markdown-it-py>=4,<5", "PyYAML>=6,<7"]
# ///
"""Checks that a task of a plan is done: runs its proofs, compares the files changed with those declared, asks evidence for each item."""

from __future__ import annotations

import argparse
import fnmatch
import os
import re
import signal
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import _git as source

import _plan as plans
from _plan import Task
from _report import NotChecked, Report, Rule, Tool, Unusable, main, need

RULES = (
    Rule("TSK001", "error", "the task has no proof, no files or no definition of done", "Send it back to the planner: validate_plan.py says what it lacks."),
    Rule("TSK002", "error", "a proof fails: the command does, or its output lacks what was expected", "Finish the task; do not change the plan's expectation to fit."),
    Rule("TSK003", "error", "a proof takes longer than its time", "Find why; raise `timeout` in the plan only with a reason."),
    Rule("TSK004", "error", "a file changed that the task does not name", "Move it to its own task, or ask the planner to add it."),
    Rule("TSK005", "error", "a file that the task names did not change", "Finish it, or ask the planner to drop it."),
    Rule("TSK006", "error", "an item of the definition of done has no evidence", "Report the item, and below it the command and its figure, or the file and line."),
    Rule("TSK007", "warning", "a step is not ticked", "Tick what is done; an open step means an open task."),
    Rule("TSK008", "warning", "the change leaves a placeholder behind", "Finish it, or make it a task of the plan."),
    Rule("TSK009", "error", "a task that comes before has open steps", "Finish that one first, or prove that it is and tick it."),
)  # fmt: skip
TOOL = Tool("check_task", "1.0.0", __doc__ or "", RULES)
PLACEHOLDER = re.compile(r"(?:#|//|--|/\*)\s*(TODO|FIXME|XXX|HACK)\b|\braise NotImplementedError\b|\b(?:todo|unimplemented)!\(")
MAX_OUTPUT = 2_000_000


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", metavar="PLAN.md", help="the plan, in the format of architectural-planner")
    parser.add_argument(
        "--task", metavar="ID", help="the task's id, as in its heading `Task ID: ...` (may be left out where there is one)"
    )
    parser.add_argument("--repo", default=".", metavar="DIR", help="the repository in which proofs run (default: here)")
    parser.add_argument("--base", default="HEAD", metavar="COMMIT", help="the commit before the task (default: HEAD, for work not yet committed)")  # fmt: skip
    parser.add_argument("--report", metavar="FILE", help="the worker's report: each done item and its evidence")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for a proof without its own timeout (default: 300)")


def check(args: argparse.Namespace, report: Report) -> None:
    need("markdown_it", "markdown-it-py>=4,<5")
    need("yaml", "PyYAML>=6,<7")
    path = Path(args.plan)
    report.targets.append(path.as_posix())
    text = report.read(path)
    if text is None:
        return
    tasks = plans.read(text).tasks
    task = chosen(tasks, args.task)
    report.scanned = 1
    lacking = [key for key in ("files", "verify", "done") if not task.data.get(key)]
    if task.error or lacking or len(task.verify) != len(task.data["verify"]):
        why = (
            task.error[1]
            if task.error
            else f"it lacks {', '.join(lacking)}"
            if lacking
            else "its verify is not a list of run and expect"
        )
        report.add("TSK001", path, task.error[0] if task.error else task.line, f"task {task.id} cannot be judged: {why}.")
        return
    report.data.update(task=task.id, title=task.title, skill=task.data.get("skill"), proofs=[])
    repo = Path(args.repo)
    changes = differing(repo, args.base, [path, *([Path(args.report)] if args.report else [])])
    files(report, path, task, repo, args.base, changes)
    for number, proof in enumerate(task.verify):
        run(report, path, task, number, proof, repo, args.timeout)
    evidence(report, path, task, args.report)
    for step in task.steps:
        if not step.done:
            report.add("TSK007", path, step.line, f"not ticked: {step.text.splitlines()[0][:80]}")
    for other in tasks:
        if other.id in task.needs and (left := [s for s in other.steps if not s.done]):
            report.add("TSK009", path, other.line, f"task {other.id}, which comes before, has {len(left)} open steps.")


def chosen(tasks: list[Task], wanted: str | None) -> Task:
    if not tasks:
        raise Unusable("the plan has no task")
    if wanted is None and len(tasks) > 1:
        raise Unusable(f"give --task, one of {', '.join(t.id for t in tasks)}")
    found = [t for t in tasks if wanted in (None, t.id)]
    if len(found) != 1:
        raise Unusable(f"the plan has {len(found)} tasks {wanted!r}; it has {', '.join(t.id for t in tasks)}")
    return found[0]


def differing(repo: Path, base: str, papers: list[Path]) -> dict[str, str]:
    """What changed since `base`. Ticking the plan's boxes and writing the report is no change of the product."""
    top = Path(source.git(repo, "rev-parse", "--show-toplevel").strip())
    if top.resolve() != repo.resolve():
        raise Unusable(f"--repo must be the repository's root, {top}")
    changes = source.changed(repo, source.commit(repo, base), None)
    left_out = {paper.resolve() for paper in papers}
    return {name: kind for name, kind in changes.items() if (repo / name).resolve() not in left_out}


def fits(name: str, declared: str) -> bool:
    return (
        name == declared
        or (declared.endswith("/") and name.startswith(declared))
        or ("*" in declared and fnmatch.fnmatch(name, declared))
    )


def files(report: Report, path: Path, task: Task, repo: Path, base: str, changes: dict[str, str]) -> None:
    if not changes:
        raise Unusable(f"nothing changed since {base}: give --base the commit before the task")
    for name in sorted(changes):
        if not any(fits(name, declared) for declared in task.files()):
            report.add("TSK004", path, task.at("files"), f"{name} changed and task {task.id} does not name it.")
        if changes[name] != "D":
            for number, line in source.added_lines(repo, base, None, name).items():
                if PLACEHOLDER.search(line) and PurePosixPath(name).suffix in source.CODE:
                    report.add("TSK008", repo / name, number, f"left behind: {line.strip()[:80]}")
    for declared in task.files():
        if not any(fits(name, declared) for name in changes):
            absent = "" if any(repo.glob(declared.rstrip("/"))) else " (it is not even there)"
            report.add("TSK005", path, task.at("files"), f"{declared} did not change{absent}.")
    for declared in task.files("create"):
        if changes.get(declared) == "M":
            report.add(
                "TSK005", path, task.at("files"), f"{declared} should be created, and was there before.", severity="warning"
            )


def run(report: Report, path: Path, task: Task, number: int, proof: dict[str, Any], repo: Path, timeout: float) -> None:
    """One proof: the plan's command by bash, as a reader would type it."""
    command, expect = proof.get("run"), proof.get("expect")
    line = task.at("verify")
    if not isinstance(command, str) or not isinstance(expect, str) or not expect.strip():
        report.add("TSK001", path, line, f"proof {number + 1} of task {task.id} is not a command and a text to expect.")
        return
    try:
        limit = float(proof.get("timeout") or timeout)
    except ValueError:
        report.add("TSK001", path, line, f"the timeout of proof {number + 1} is no number of seconds.")
        return
    try:
        process = subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=repo,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise NotChecked("bash is not installed") from None
    with process:
        try:
            raw, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            report.add("TSK003", path, line, f"`{command}` did not end within {limit:g} s.")
            report.data["proofs"].append({"run": command, "exit": None, "met": False})
            return
    out = raw[-MAX_OUTPUT:].decode(errors="replace")
    met = process.returncode == 0 and expect in out
    report.data["proofs"].append({"run": command, "exit": process.returncode, "met": met})
    if not met:
        why = f"exits with {process.returncode}" if process.returncode else f"does not say {expect!r}"
        tail = " | ".join(out.strip().splitlines()[-3:])[-300:]
        report.add("TSK002", path, line, f"`{command}` {why}.", evidence=tail or "(no output)")


def evidence(report: Report, path: Path, task: Task, given: str | None) -> None:
    """Each done item stands in the report, and the next line that is not empty begins with `Evidence:`."""
    text = report.read(Path(given)) if given else None
    if given and text is None:
        return
    lines = [bare(line) for line in (text or "").splitlines() if line.strip()]
    for item in task.texts("done"):
        place = next((n for n, line in enumerate(lines) if line == bare(item)), None)
        following = lines[place + 1] if place is not None and place + 1 < len(lines) else ""
        if not following.startswith("evidence: ") or len(following) < len("evidence: ") + 3:
            said = "has no evidence in the report" if given else "has no evidence: give --report"
            report.add("TSK006", path, task.at("done"), f"{item!r} {said}.")


def bare(line: str) -> str:
    """A line without the marks of a list, a box or emphasis."""
    return " ".join(re.sub(r"^\s*(?:[-*>]\s+)?(?:\[.\]\s+)?", "", line).replace("*", "").replace("`", "").lower().split())


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
