"""A plan in Markdown -> its header, jobs, decisions and tasks, with the line of each.

The format is that of architectural-planner's `references/plan_format.md`: prose for people, one YAML block a task for machines. The
Markdown is read by markdown-it and the YAML by PyYAML with repeated keys refused. What is missing or wrong in a plan is no business of this
module: it tells what stands there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from _report import need

HEADER = re.compile(r"^(Goal|Architecture|Tech Stack|Constraints):\s*(.*)", re.S)
TASK = re.compile(r"^Task\s+([A-Za-z0-9][A-Za-z0-9_.-]*)\s*:\s*(.*)", re.S)
DECISION = re.compile(r"^Decision\s+([A-Za-z0-9][A-Za-z0-9_.-]*)\s*:\s*(.*)", re.S)
PART = re.compile(r"^(Thesis|Antithesis|Synthesis|Rejected)\s*:\s*(.*)", re.S | re.I)
BOX = re.compile(r"^\[([ xX])\]\s+(.*)", re.S)


@dataclass
class Step:
    line: int
    text: str
    done: bool

    @property
    def kind(self) -> str:
        """test, run, commit or code, from the words that the step begins with."""
        said = re.sub(r"^step\s+\w+\s*[:.]\s*", "", self.text.lower())
        if re.match(r"(test\b|(write|add|extend)\b.{0,60}\btests?\b)", said):
            return "test"
        if re.match(r"(run|verify|check|see|measure)\b", said):
            return "run"
        return "commit" if said.startswith("commit") else "code"


@dataclass
class Task:
    id: str
    title: str
    line: int
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    blocks: int = 0
    error: tuple[int, str] | None = None

    def at(self, key: str) -> int:
        """The line of a key of the task's block, or of its heading."""
        return self.lines.get(key, self.line)

    def texts(self, key: str) -> list[str]:
        """The texts of a list, or of one text; what is neither is left out."""
        value = self.data.get(key)
        items = value if isinstance(value, list) else [value]
        return [item for item in items if isinstance(item, str)]

    @property
    def needs(self) -> list[str]:
        """Ids of the tasks that come before."""
        return [item for item in self.texts("depends") if item]

    def files(self, *kinds: str) -> list[str]:
        given = self.data.get("files")
        if not isinstance(given, dict):
            return []
        lists = [given.get(kind) for kind in kinds or ("create", "modify", "test")]
        return [item for some in lists if isinstance(some, list) for item in some if isinstance(item, str)]

    @property
    def verify(self) -> list[dict[str, Any]]:
        value = self.data.get("verify")
        return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


@dataclass
class Decision:
    id: str
    line: int
    parts: dict[str, str] = field(default_factory=dict)


@dataclass
class Plan:
    title: str = ""
    title_line: int = 1
    header: dict[str, str] = field(default_factory=dict)
    jobs: list[tuple[int, str]] = field(default_factory=list)
    sections: dict[str, int] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    prose: list[tuple[int, str]] = field(default_factory=list)


def spoken(token: Any, kinds: tuple[str, ...] = ("text", "code_inline")) -> str:
    """The text of an inline token: without marks of emphasis, links or HTML comments."""
    parts = []
    for child in token.children or []:
        if child.type in kinds:
            parts.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            parts.append("\n")
    return "".join(parts).strip()


def read(text: str) -> Plan:
    """Read a plan. Whatever the text, this gives a plan, be it an empty one."""
    markdown: Any = need("markdown_it", "markdown-it-py>=4,<5")
    plan, section, task, decision = Plan(), "", None, None
    heading = 0
    for token in markdown.MarkdownIt("commonmark").enable("table").parse(text):
        line = 1 + token.map[0] if token.map else 0
        if token.type == "heading_open":
            heading = int(token.tag[1])
        elif token.type == "heading_close":
            heading = 0
        elif token.type == "fence" and task is not None and token.info.split()[:1] == ["yaml"]:
            task.blocks += 1
            if task.blocks == 1:
                task.data, task.lines, task.error = block(token.content, line + 1)
        elif token.type == "inline":
            said = spoken(token)
            if heading:
                task = decision = None
                if heading == 1 and not plan.title:
                    plan.title, plan.title_line = said, line
                elif heading <= 2:
                    section = said.lower()
                    plan.sections.setdefault(section, line)
                if match := TASK.match(said):
                    task = Task(match[1], match[2].strip(), line)
                    plan.tasks.append(task)
                elif match := DECISION.match(said):
                    decision = Decision(match[1], line)
                    plan.decisions.append(decision)
                continue
            plan.prose.extend((line + n, part) for n, part in enumerate(spoken(token, ("text",)).split("\n")))
            if match := BOX.match(said):
                if task is not None:
                    task.steps.append(Step(line, match[2].strip(), match[1] != " "))
            elif task is None and decision is None and not section:
                header(plan, said)
            elif section.endswith("constraints") and said:
                plan.header["Constraints"] = said
            elif section.startswith("jobs") and said:
                plan.jobs.append((line, " ".join(said.split())))
            elif decision is not None and (match := PART.match(said)):
                decision.parts[match[1].lower()] = match[2].strip()
    return plan


def header(plan: Plan, said: str) -> None:
    name = ""
    for part in said.split("\n"):
        if match := HEADER.match(part):
            name = match[1]
            plan.header[name] = match[2].strip()
        elif name:
            plan.header[name] = (plan.header[name] + " " + part).strip()


def block(content: str, first: int) -> tuple[dict[str, Any], dict[str, int], tuple[int, str] | None]:
    """A task's YAML, all its scalars as texts: its mapping, the line of each key, and where it cannot be read, why."""
    yaml: Any = need("yaml", "PyYAML>=6,<7")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content, Loader=yaml.BaseLoader)):
            return {}, {}, (first, "aliases are not read")
        node = yaml.compose(content, Loader=yaml.BaseLoader)
        if not isinstance(node, yaml.MappingNode):
            return {}, {}, (first, "the block is no mapping of keys")
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if key.value in lines:
                return {}, lines, (first + key.start_mark.line, f"the key {key.value!r} stands there twice")
            lines[key.value] = first + key.start_mark.line
        return yaml.load(content, Loader=yaml.BaseLoader), lines, None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        mark = getattr(error, "problem_mark", None)
        return {}, {}, (first + (mark.line if mark else 0), f"no YAML: {' '.join(str(error).split())[:160]}")


def waves(tasks: list[Task]) -> tuple[list[list[str]], list[str]]:
    """The tasks in groups, each of which can run side by side after the ones before; and the ids that never can: a cycle."""
    known = {task.id for task in tasks}
    left = {task.id: {n for n in task.needs if n in known} for task in tasks}
    out: list[list[str]] = []
    while left:
        ready = [name for name, needs in left.items() if not needs & left.keys()]
        if not ready:
            return out, list(left)
        out.append(ready)
        for name in ready:
            del left[name]
    return out, []


def before(tasks: list[Task]) -> dict[str, set[str]]:
    """For each task all that come before it, however far."""
    direct = {task.id: set(task.needs) for task in tasks}
    reached: dict[str, set[str]] = {}
    for name in direct:
        seen: set[str] = set()
        stack = list(direct[name])
        while stack:
            at = stack.pop()
            if at not in seen:
                seen.add(at)
                stack.extend(direct.get(at, ()))
        reached[name] = seen
    return reached
