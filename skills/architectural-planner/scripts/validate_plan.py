# /// script
# requires-python = ">=3.11"
# dependencies = ["markdown-it-py>=4,<5", "PyYAML>=6,<7"]
# ///
"""Checks an implementation plan: whether another engineer could carry out each task alone, in this order, and prove it done."""

from __future__ import annotations

import argparse
import re
from pathlib import Path, PurePosixPath
from typing import Any

import _plan as plans
from _plan import Plan, Task
from _report import Report, Rule, Tool, Unusable, files, main, need

RULES = (
    Rule("PLN001", "error", "the header lacks Goal, Architecture, Tech Stack or Constraints", "Begin from assets/plan_template.md: **Goal:** one sentence, and so on."),
    Rule("PLN002", "error", "a task lacks a part, or has one that nothing reads", "Give it files, verify (run and expect), done, skill and views, as references/plan_format.md says."),
    Rule("PLN003", "error", "a placeholder where the plan should decide", "Write what it is: the code, the cases, the message, the number."),
    Rule("PLN004", "error", "a dependency is unknown, comes later, or closes a circle", "Name tasks that stand earlier in the plan."),
    Rule("PLN005", "error", "a view without any task, or a task without a view", "Map each task to logical, process, development, physical or scenarios; say `not affected` with a reason for a view left out."),
    Rule("PLN006", "error", "the skill that should do the task does not exist", "Name a folder of skills/ (or give --skills DIR)."),
    Rule("PLN007", "warning", "something is consumed that no earlier task produces", "Add it to `produces` of the task that makes it, or to `given` in the plan's first task."),
    Rule("PLN008", "error", "code is written before the test that asks for it", "Put the step that writes the failing test, and the run that shows it fail, first; or give `no_test:` with the reason."),
    Rule("PLN009", "warning", "no job, or one that is not When ... I want ... so that ...", "When <situation>, I want <ability>, so that <outcome>."),
    Rule("PLN010", "warning", "a decision that has not heard the other side", "Give Thesis, Antithesis, Synthesis and Rejected, each with a reason that could be wrong."),
    Rule("PLN011", "error", "two tasks that may run side by side write the same file", "Let one depend on the other, or divide the file."),
    Rule("PLN012", "warning", "a requirement of the spec has no task", "Add its id to `covers` of the task that fulfils it."),
    Rule("PLN013", "error", "two tasks have one id", "Number them apart."),
    Rule("PLN014", "error", "a path leads out of the repository", "Give paths relative to the repository's root."),
)  # fmt: skip
TOOL = Tool("validate_plan", "1.0.0", __doc__ or "", RULES)
VIEWS = ("logical", "process", "development", "physical", "scenarios")
KEYS = frozenset({"skill", "views", "depends", "files", "consumes", "produces", "given", "verify", "done", "covers", "no_test"})
PLACEHOLDERS = tuple(
    re.compile(pattern, re.I)
    for pattern in (
        r"(?-i:\b(TBD|TODO|FIXME|XXX)\b)",
        r"\bimplement(ed)? later\b",
        r"\bfill in (the )?details\b",
        r"\badd (the )?appropriate (error handling|validation|tests|logging)\b",
        r"\bhandle (the )?edge cases\b",
        r"\bwrite tests for the above\b",
        r"\bsimilar to task\b",
        r"\badd (the )?validation\b\s*\.?$",
    )
)
CODE = frozenset({".py", ".rs", ".ts", ".tsx", ".js", ".go", ".java", ".sql", ".c", ".cc", ".cpp", ".sh"})
REQUIREMENT = re.compile(r"^\**([A-Z]{1,6}-?\d+)\**\s*[:.)]")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PLAN.md", help="plan files, or folders of *plan*.md")
    parser.add_argument(
        "--spec", metavar="FILE", help="a document whose requirement ids (R1: ..., FR-2: ...) the tasks must cover"
    )
    parser.add_argument("--skills", metavar="DIR", help="the folder of skills (default: the one that this skill lies in)")


def check(args: argparse.Namespace, report: Report) -> None:
    markdown: Any = need("markdown_it", "markdown-it-py>=4,<5")
    report.engines.append(f"markdown-it-py {markdown.__version__}")
    home = Path(args.skills) if args.skills else Path(__file__).resolve().parents[2]
    skills = {path.parent.name for path in home.glob("*/SKILL.md")}
    if args.skills and not skills:
        raise Unusable(f"{home} holds no skill")
    covered: set[str] = set()
    for path in files(report, args.paths, ["*plan*.md"]):
        text = report.read(path)
        if text is None:
            continue
        if not text.strip():
            report.skip(path, "empty")
            continue
        report.scanned += 1
        plan = plans.read(text)
        whole(report, path, plan)
        for task in plan.tasks:
            form(report, path, task)
            method(report, path, task, skills, home)
        order(report, path, plan.tasks)
        placeholders(report, path, plan)
        covered |= {name for task in plan.tasks for name in task.texts("covers")}
        report.data.setdefault("plans", []).append(graph(path, plan))
    if args.spec:
        requirements(report, Path(args.spec), covered)


def whole(report: Report, path: Path, plan: Plan) -> None:
    lacking = [name for name in ("Goal", "Architecture", "Tech Stack", "Constraints") if not plan.header.get(name)]
    if lacking:
        report.add("PLN001", path, plan.title_line, f"the header lacks {', '.join(lacking)}.")
    if not plan.tasks:
        report.add("PLN002", path, plan.title_line, "the plan has no task: a heading `### Task 1: ...`.")
    if not plan.jobs:
        report.add("PLN009", path, plan.title_line, "the plan names no job: a section `## Jobs`.")
    for line, job in plan.jobs:
        if not re.search(r"\bwhen\b.+\bI want\b.+\bso that\b", job, re.I):
            report.add("PLN009", path, line, f"not a job story: {job[:60]!r}.")
    used = {view for task in plan.tasks for view in task.texts("views")}
    said = " ".join(text.lower() for _, text in plan.prose)
    for view in VIEWS:
        if plan.tasks and view not in used and not re.search(rf"\b{view}\b[^.\n]*\bnot affected\b[^.\n]*\w+", said):
            report.add("PLN005", path, plan.sections.get("views", plan.title_line), f"no task touches the {view} view.")
    for decision in plan.decisions:
        lacking = [part for part in ("thesis", "antithesis", "synthesis", "rejected") if not decision.parts.get(part)]
        if lacking:
            report.add("PLN010", path, decision.line, f"decision {decision.id} lacks {', '.join(lacking)}.")


def form(report: Report, path: Path, task: Task) -> None:
    """Whether the block has each part, in the shape that other tools read."""
    if task.error:
        report.add("PLN002", path, task.error[0], f"task {task.id}: {task.error[1]}.")
        return
    if not task.blocks:
        report.add("PLN002", path, task.line, f"task {task.id} has no YAML block.")
        return
    lacking = [key for key in ("files", "verify", "done") if not task.data.get(key)]
    if lacking:
        report.add("PLN002", path, task.line, f"task {task.id} lacks {', '.join(lacking)}.")
    for key in task.data.keys() - KEYS:
        report.add("PLN002", path, task.at(str(key)), f"task {task.id}: nothing reads {key!r}.")
    given = task.data.get("files")
    if given is not None and (
        not isinstance(given, dict)
        or given.keys() - {"create", "modify", "test"}
        or any(not isinstance(some, list) or not all(isinstance(f, str) for f in some) for some in given.values())
    ):
        report.add("PLN002", path, task.at("files"), f"task {task.id}: files is create, modify and test, each a list of paths.")
    for name in task.files():
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts or name.startswith("~"):
            report.add("PLN014", path, task.at("files"), f"task {task.id}: {name!r} is not below the repository's root.")
    if task.data.get("verify") is not None:
        whole = isinstance(task.data["verify"], list) and len(task.verify) == len(task.data["verify"])
        if not whole or any(
            set(v) - {"run", "expect", "timeout"} or not isinstance(v.get("run"), str) or not isinstance(v.get("expect"), str)
            for v in task.verify
        ):
            report.add(
                "PLN002", path, task.at("verify"), f"task {task.id}: each verify is a command to `run` and a text to `expect`."
            )
    for key in ("depends", "done", "views", "consumes", "produces", "given", "covers"):
        value = task.data.get(key)
        if value is not None and (not isinstance(value, list) or not all(isinstance(item, str) and item for item in value)):
            report.add("PLN002", path, task.at(key), f"task {task.id}: {key} is a list of texts.")


def method(report: Report, path: Path, task: Task, skills: set[str], home: Path) -> None:
    """Who does it, which views it touches, and whether the test comes first."""
    if task.error or not task.blocks:
        return
    views = task.texts("views")
    if not views or set(views) - set(VIEWS):
        wrong = ", ".join(sorted(set(views) - set(VIEWS)))
        report.add(
            "PLN005", path, task.at("views"), f"task {task.id} " + (f"names no view {wrong}." if wrong else "names no view.")
        )
    skill = task.data.get("skill")
    if not isinstance(skill, str) or not skill:
        report.add("PLN002", path, task.line, f"task {task.id} names no skill.")
    elif skill not in skills:
        report.add("PLN006", path, task.at("skill"), f"task {task.id}: {home.name}/ has no skill {skill!r}.")
    makes_code = any(PurePosixPath(name).suffix in CODE for name in task.files("create", "modify"))
    if not makes_code or (isinstance(task.data.get("no_test"), str) and task.data["no_test"].strip()):
        return
    kinds = [step.kind for step in task.steps]
    first = kinds.index("code") if "code" in kinds else len(kinds)
    if "test" not in kinds[:first]:
        line = task.steps[first].line if first < len(kinds) else task.line
        report.add("PLN008", path, line, f"task {task.id} writes code and no test before it.")
    elif "run" not in kinds[kinds.index("test") : first]:
        line = task.steps[kinds.index("test")].line
        report.add("PLN008", path, line, f"task {task.id}: nobody sees the new test fail before the code is written.")


def order(report: Report, path: Path, tasks: list[Task]) -> None:
    place: dict[str, int] = {}
    for number, task in enumerate(tasks):
        if task.id in place:
            report.add("PLN013", path, task.line, f"task {task.id} stands there twice.")
        place.setdefault(task.id, number)
    circle = set(plans.waves(tasks)[1])
    made: set[str] = set()
    for number, task in enumerate(tasks):
        for name in task.needs:
            if name not in place:
                report.add("PLN004", path, task.at("depends"), f"task {task.id} depends on {name}, which is not there.")
            elif task.id in circle and name in circle:
                report.add("PLN004", path, task.at("depends"), f"tasks {task.id} and {name} stand in a circle.")
            elif place[name] >= number:
                report.add("PLN004", path, task.at("depends"), f"task {task.id} depends on {name}, which comes later.")
        made |= set(task.texts("given"))
        for item in task.texts("consumes"):
            if item not in made:
                report.add("PLN007", path, task.at("consumes"), f"task {task.id} consumes {item!r}.")
        made |= set(task.texts("produces"))
    earlier = plans.before(tasks)
    for number, task in enumerate(tasks):
        for other in tasks[:number]:
            if other.id in earlier[task.id] or task.id in earlier[other.id] or other.id == task.id:
                continue
            for name in sorted(set(task.files()) & set(other.files())):
                report.add("PLN011", path, task.at("files"), f"tasks {other.id} and {task.id} both write {name}.")


def placeholders(report: Report, path: Path, plan: Plan) -> None:
    texts = list(plan.prose)
    for task in plan.tasks:
        texts.append((task.line, task.title))
        texts.extend((task.at("done"), item) for item in task.texts("done"))
        texts.extend((task.at("verify"), str(v.get("expect", ""))) for v in task.verify)
    for line, text in texts:
        for pattern in PLACEHOLDERS:
            if match := pattern.search(text):
                report.add("PLN003", path, line, f"{match[0]!r} leaves the decision to whoever carries it out.")
                break


def requirements(report: Report, path: Path, covered: set[str]) -> None:
    markdown: Any = need("markdown_it", "markdown-it-py>=4,<5")
    text = report.read(path)
    if text is None:
        return
    found: dict[str, int] = {}
    for token in markdown.MarkdownIt("commonmark").parse(text):
        if token.type == "inline" and (match := REQUIREMENT.match(plans.spoken(token))):
            found.setdefault(match[1], 1 + token.map[0])
    if not found:
        report.skip(path, "no requirement id (a heading or list item that begins with `R1:`)")
    for name, line in found.items():
        if name not in covered:
            report.add("PLN012", path, line, f"no task covers {name}.")
    report.data["requirements"] = {name: name in covered for name in found}


def graph(path: Path, plan: Plan) -> dict[str, Any]:
    """What lead-engineer-orchestrator and implementation-worker read."""
    order, circle = plans.waves(plan.tasks)
    return {
        "path": path.as_posix(),
        "title": plan.title,
        "tasks": [{"id": t.id, "title": t.title, "line": t.line, "steps": len(t.steps), **t.data} for t in plan.tasks],
        "waves": order,
        "circle": circle,
    }


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
