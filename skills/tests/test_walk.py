"""The walk of `examples/agents`: its transcript is what the scripts really print."""

from __future__ import annotations

import subprocess
import sys

from support import SKILLS


def test_the_transcript_is_what_the_commands_print() -> None:
    walk = SKILLS.parent / "examples/agents/walk.py"
    done = subprocess.run([sys.executable, str(walk), "--check"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
