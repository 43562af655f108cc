# /// script
# requires-python = ">=3.11"
# dependencies = ["markdown-it-py>=4,<5"]
# ///
"""Checks architecture decision records: whether each was argued from both sides, says what it costs, and is still what holds."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _report import Report, Rule, Tool, files, main, need

RULES = (
    Rule("ADR001", "error", "a section is missing or empty", "Status, Context, Options, Decision, Consequences: begin from assets/adr_template.md."),
    Rule("ADR002", "error", "the decision was not argued: thesis, antithesis or synthesis is missing or empty", "Write the case against it so that its advocate would sign; then what of it was kept."),
    Rule("ADR003", "error", "a link of supersession leads nowhere, or only one way", "Name the file of the other record on both sides."),
    Rule("ADR004", "warning", "no plan speaks of an accepted decision", "Name the record in the plan that carries it out; or mark it superseded or rejected."),
    Rule("ADR005", "error", "an unknown status", "One of proposed, accepted, rejected, deprecated, superseded by <file>."),
    Rule("ADR006", "error", "two records share a number", "Give the later one the next free number."),
    Rule("ADR007", "error", "fewer than two options", "Name what else was possible; doing nothing is an option."),
    Rule("ADR008", "warning", "consequences without a cost", "Say what gets worse (`Bad: ...`), and what would make you decide again."),
    Rule("ADR009", "warning", "the file's name gives no number and title", "Name it NNNN-what-was-decided.md."),
)  # fmt: skip
TOOL = Tool("check_adr", "1.0.0", __doc__ or "", RULES)
STATUS = ("proposed", "accepted", "rejected", "deprecated", "superseded")
# A section by its usual names: Nygard's, MADR's and this skill's own.
SECTIONS = {
    "status": ("status",),
    "context": ("context", "context and problem statement", "problem", "problem statement", "background"),
    "options": ("options", "considered options", "alternatives", "alternatives considered", "options considered"),
    "decision": ("decision", "decision outcome", "outcome"),
    "consequences": ("consequences", "positive consequences", "negative consequences", "pros and cons of the options"),
    "thesis": ("thesis",),
    "antithesis": ("antithesis",),
    "synthesis": ("synthesis",),
}
NUMBERED = re.compile(r"^(?:adr[-_])?(\d{1,5})[-_]\w.*\.md$", re.I)
COST = re.compile(
    r"\b(bad|cost|costs|negative|worse|slower|more expensive|risk|downside|drawback|trade-?off|lose|harder|decide again)\b", re.I
)


@dataclass
class Part:
    line: int
    texts: list[str] = field(default_factory=list)
    items: int = 0
    headings: int = 0


@dataclass
class Record:
    path: Path
    title_line: int = 1
    parts: dict[str, Part] = field(default_factory=dict)
    status: str = ""
    status_line: int = 0
    links: list[tuple[int, str, str]] = field(default_factory=list)
    madr: set[str] = field(default_factory=set)

    @property
    def is_madr(self) -> bool:
        """Written by MADR, which leaves status and consequences to the writer and knows no dialectic."""
        return self.madr >= {"context and problem statement", "decision outcome"}

    def said(self, name: str) -> str:
        part = self.parts.get(name)
        return " ".join(part.texts).strip() if part else ""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", help="decision records (Markdown), or folders of them")
    parser.add_argument(
        "--plan",
        action="append",
        default=[],
        metavar="FILE",
        help="a plan that must name each accepted record (may be given again)",
    )
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="files to leave out")


def check(args: argparse.Namespace, report: Report) -> None:
    markdown: Any = need("markdown_it", "markdown-it-py>=4,<5")
    report.engines.append(f"markdown-it-py {markdown.__version__}")
    leave = ["README.md", "index.md", "*template*", *args.exclude]
    records: list[Record] = []
    for path in files(report, args.paths, ["*.md"], leave):
        text = report.read(path)
        if text is None:
            continue
        if not text.strip():
            report.skip(path, "empty")
            continue
        report.scanned += 1
        records.append(read(markdown, path, text))
    plans = []
    for name in args.plan:
        text = report.read(Path(name))
        if text is not None:
            plans.append(text)
    numbers: dict[tuple[Path, str], Path] = {}
    for record in records:
        judge(report, record)
        match = NUMBERED.match(record.path.name)
        if match is None:
            report.add("ADR009", record.path, record.title_line, f"{record.path.name} gives no number and title.")
            continue
        other = numbers.setdefault((record.path.parent, match[1]), record.path)
        if other is not record.path:
            report.add("ADR006", record.path, record.title_line, f"{other.name} has the number {match[1]} too.")
        if plans and record.status == "accepted" and not any(record.path.stem in plan for plan in plans):
            report.add("ADR004", record.path, record.title_line, f"no plan names {record.path.stem}.")
    supersession(report, records)
    report.data["records"] = [{"path": r.path.as_posix(), "status": r.status} for r in records]


def read(markdown: Any, path: Path, text: str) -> Record:
    record = Record(path)
    body = text
    offset = 0
    if text.startswith("---\n") and "\n---\n" in text[3:]:
        # MADR 3 keeps the status in front matter.
        front, _, body = text[4:].partition("\n---\n")
        offset = front.count("\n") + 3
        for number, line in enumerate(front.splitlines(), 2):
            status(record, number, line)
    part: Part | None = None
    level = 0
    at = 2
    for token in markdown.MarkdownIt("commonmark").enable("table").parse(body):
        line = offset + 1 + token.map[0] if token.map else 0
        if token.type == "heading_open":
            level = int(token.tag[1])
        elif token.type == "list_item_open" and part is not None and token.level <= 1:
            part.items += 1
        elif token.type == "inline":
            said = "".join(
                c.content if c.type in ("text", "code_inline") else "\n" if c.type.endswith("break") else ""
                for c in token.children
            )
            if level:
                name = re.sub(r"^[\W\d]+", "", said.strip().lower()).rstrip(":")
                if level == 1:
                    record.title_line, part = line, None
                else:
                    record.madr.add(name)
                    known = next((key for key, names in SECTIONS.items() if name in names), None)
                    if known and (part is None or level <= at or known != "options"):
                        part, at = record.parts.setdefault(known, Part(line)), level
                    elif level <= at:
                        part = None
                    elif part is not None:
                        part.headings += 1
                        part.texts.append(said)
                level = 0
                continue
            if part is not None:
                part.texts.append(said)
            if part is None and "status" not in record.parts:
                for number, row in enumerate(said.split("\n")):
                    status(record, line + number, row)
            elif part is record.parts.get("status") and not record.status:
                status(record, line, f"status: {said}")
            for href in (str(c.attrGet("href")) for c in token.children if c.type == "link_open"):
                if match := re.search(r"\b(superseded\s+by|supersedes)\b", said, re.I):
                    record.links.append((line, "by" if "by" in match[1].lower() else "of", href))
    return record


def status(record: Record, line: int, text: str) -> None:
    if match := re.match(r"^[-*\s]*\**status\**\s*:[^A-Za-z]*([A-Za-z]+)", text.strip(), re.I):
        record.status, record.status_line = match[1].lower(), line


def judge(report: Report, record: Record) -> None:
    path = record.path
    lenient = "warning" if record.is_madr else None
    lacking = [name for name in ("context", "options", "decision") if not record.said(name)]
    if lacking:
        report.add("ADR001", path, record.title_line, f"{path.name} lacks {', '.join(lacking)}.")
    lacking = [name for name in ("status", "consequences") if not (record.status if name == "status" else record.said(name))]
    if lacking:
        report.add("ADR001", path, record.title_line, f"{path.name} lacks {', '.join(lacking)}.", severity=lenient)
    if record.status and record.status not in STATUS:
        report.add("ADR005", path, record.status_line, f"{record.status!r} is no status.", severity=lenient)
    unheard = [name for name in ("thesis", "antithesis", "synthesis") if len(record.said(name).split()) < 3]
    if unheard:
        line = next((record.parts[n].line for n in unheard if n in record.parts), record.title_line)
        report.add("ADR002", path, line, f"{path.name} has no {', '.join(unheard)}.", severity=lenient)
    options = record.parts.get("options")
    if options and record.said("options") and max(options.items, options.headings) < 2:
        report.add("ADR007", path, options.line, f"{path.name} names fewer than two options.")
    if record.said("consequences") and not COST.search(record.said("consequences")):
        report.add("ADR008", path, record.parts["consequences"].line, f"{path.name} names no cost.")


def supersession(report: Report, records: list[Record]) -> None:
    known = {record.path.resolve(): record for record in records}
    for record in records:
        if record.status == "superseded" and not any(kind == "by" for _, kind, _ in record.links):
            report.add("ADR003", record.path, record.status_line, f"{record.path.name} is superseded, and no link says by what.")
        for line, kind, href in record.links:
            target = (record.path.parent / href.partition("#")[0]).resolve()
            other = known.get(target)
            if not href.startswith(("http:", "https:")) and not target.is_file():
                report.add("ADR003", record.path, line, f"{href} is not there.")
            elif kind == "of" and other is not None and other.status != "superseded":
                report.add(
                    "ADR003",
                    record.path,
                    line,
                    f"{record.path.name} supersedes {other.path.name}, whose status is {other.status}.",
                )
            elif kind == "by" and other is not None and record.status != "superseded":
                report.add(
                    "ADR003", record.path, line, f"{record.path.name} names its successor, and its status is {record.status}."
                )


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
