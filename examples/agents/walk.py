"""One change from plan to merge, by the skills alone: the plan is checked, three faults are handed in, refused, mended, proved and approved.

Run it: `python examples/agents/walk.py` prints the transcript of the commands as they really ran, in a repository of its own that is
thrown away; `--check` compares it with transcript.md, `--write` makes that anew. The faults are the ones of `faulty/`: a call that blocks the
event loop (its tests pass all the same), a json column, and a POJO where the plan says MOJO.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODEL = ROOT / "fixtures" / "demo" / "model.zip"
REPORTS = {
    "1": [("Notes are a column of flights that can be asked by key.", "migrations/0002_notes.sql, and the check of the whole chain")],
    "2": [("The weather of an airport is given as the provider says it.", "tests/test_weather.py::test_what_the_provider_says"),
          ("A provider that is away gives None, not an error.", "tests/test_weather.py::test_a_provider_that_is_away")],
    "3": [("The model is a MOJO whose digest is recorded beside it.", "models/delay.zip.sha256, and the check of the artifacts")],
}


class Walk:
    def __init__(self, home: Path) -> None:
        self.repo, self.lines = home / "repo", ["# A change from plan to merge", "", "Made by `python examples/agents/walk.py --write`. Each output is what the command printed.", ""]
        self.repo.mkdir()
        tools = home / "bin"
        tools.mkdir()
        # Not a link: a link would lose the virtual environment.
        (tools / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (tools / "python").chmod(0o755)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "GIT_", "PYTHONPATH"))}
        who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "walk"), ("EMAIL", "walk@example.com"))}
        self.environment = {**clean, **who, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1",
                            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

    def say(self, *lines: str) -> None:
        self.lines += [*lines, ""]

    def call(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-c", command], cwd=self.repo, env=self.environment, capture_output=True, text=True, timeout=300)

    def quietly(self, command: str) -> None:
        done = self.call(command)
        if done.returncode:
            raise SystemExit(f"{command}\n{done.stdout}{done.stderr}")

    def run(self, command: str, *, expect: int) -> None:
        """Run a command into the transcript. The walk ends if its exit code is another than the story needs."""
        done = self.call(command)
        if done.returncode != expect:
            raise SystemExit(f"{command}\nended with {done.returncode}, not {expect}:\n{done.stdout}{done.stderr}")
        self.lines += ["```console", f"$ {command}", *same(done.stdout).splitlines(), f"(exit {done.returncode})", "```", ""]

    def lay(self, source: Path, *names: str) -> None:
        """Lay files of a folder over the repository; all of them where none is named."""
        for path in sorted(source.rglob("*")):
            inside = path.relative_to(source)
            if path.is_file() and "__pycache__" not in path.parts and (not names or inside.as_posix() in names):
                (self.repo / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, self.repo / inside)

    def commit(self, message: str) -> None:
        self.quietly(f"git add -A && git commit -qm '{message}'")

    def tick(self, task: str) -> None:
        """Tick the steps of a task, as its worker does."""
        plan = self.repo / "plan.md"
        head, mark, rest = plan.read_text().partition(f"### Task {task}:")
        body, mark2, tail = rest.partition("### Task ")
        plan.write_text(head + mark + body.replace("- [ ]", "- [x]") + mark2 + tail)


def same(text: str) -> str:
    """An output without what differs from run to run: commits and seconds."""
    return re.sub(r"\b\d+\.\d+ ?s\b", "N s", re.sub(r"\b[0-9a-f]{8,40}\b", "COMMIT", text))


def walk(home: Path) -> list[str]:
    w = Walk(home)
    w.quietly("git init -q -b main && echo skills > .git/info/exclude && echo report.md >> .git/info/exclude && echo review.md >> .git/info/exclude")
    (w.repo / "skills").symlink_to(ROOT / "skills")
    w.lay(HERE / "project")
    for name in ("plan.md", "requirements.md"):
        shutil.copyfile(HERE / name, w.repo / name)
    w.commit("The project and its plan")

    w.say("## 1. The plan is checked (architectural-planner)")
    w.run("python skills/architectural-planner/scripts/validate_plan.py plan.md --spec requirements.md", expect=0)
    w.run("python skills/architectural-planner/scripts/validate_plan.py plan.md --format json | python -c \"import json, sys; print(json.load(sys.stdin)['data']['plans'][0]['waves'])\"", expect=0)

    w.say("## 2. The workers hand in (with three faults)", "", "Tests pass, and the three tasks look done.")
    w.lay(HERE / "faulty")
    w.commit("Notes, weather and model")
    w.run("python -m pytest -q -p no:cacheprovider tests", expect=0)

    w.say("## 3. The gate refuses (lead-engineer-orchestrator)")
    w.run("python skills/lead-engineer-orchestrator/scripts/review_gate.py gates.yaml", expect=1)

    w.say("## 4. The workers mend, one task at a time (implementation-worker)")
    w.quietly("git reset -q --hard HEAD~1")
    w.lay(HERE / "mended", "migrations/0002_notes.sql")
    proved(w, "1")
    w.lay(HERE / "mended", "app/weather.py")
    w.lay(HERE / "faulty", "tests/test_weather.py")
    proved(w, "2")
    w.run("python skills/implementation-worker/scripts/check_tdd.py --base HEAD~1", expect=0)
    (w.repo / "models").mkdir()
    shutil.copyfile(MODEL, w.repo / "models/delay.zip")
    (w.repo / "models/delay.zip.sha256").write_text(f"{hashlib.sha256(MODEL.read_bytes()).hexdigest()}  delay.zip\n")
    proved(w, "3")

    w.say("## 5. The gate approves")
    w.run("python skills/lead-engineer-orchestrator/scripts/review_gate.py gates.yaml --report review.md", expect=0)
    w.run("head -1 review.md", expect=0)
    return w.lines


def proved(w: Walk, task: str) -> None:
    """A worker's last steps: tick, report, check, commit."""
    w.tick(task)
    items = "".join(f"- {item}\n  Evidence: {evidence}\n" for item, evidence in REPORTS[task])
    (w.repo / "report.md").write_text(f"# Report: task {task}\n\n{items}")
    w.run(f"python skills/implementation-worker/scripts/check_task.py plan.md --task {task} --report report.md --fail-on warning", expect=0)
    w.commit(f"Task {task}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--check", action="store_true", help="fail where transcript.md differs from this run")
    choice.add_argument("--write", action="store_true", help="make transcript.md anew")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="walk") as home:
        text = "\n".join(walk(Path(home)))
    kept = HERE / "transcript.md"
    if args.write:
        kept.write_text(text)
    elif args.check:
        difference = list(difflib.unified_diff(kept.read_text().splitlines(), text.splitlines(), "transcript.md", "this run", lineterm=""))
        print("\n".join(difference) or "the transcript is what the commands print")
        return 1 if difference else 0
    else:
        print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
