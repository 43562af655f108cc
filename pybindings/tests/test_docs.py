"""The examples of the package's documentation run, and say what is so."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pandas as pd

import cenote

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "fixtures" / "demo" / "model.zip"


def test_docstrings() -> None:
    found = doctest.testmod(cenote, extraglobs={"path": MODEL})
    assert found.attempted > 3
    assert found.failed == 0


def test_first_example_of_the_readme() -> None:
    text = (ROOT / "pybindings" / "README.md").read_text(encoding="utf-8")
    example = re.findall(r"```python\n(.*?)```", text, re.S)[0].replace('"model.zip"', repr(str(MODEL)))
    frame = pd.read_csv(MODEL.with_name("flights.csv"))
    names: dict[str, object] = {"frame": frame}
    exec(compile(example, "README.md", "exec"), names)
    assert isinstance(names["model"], cenote.Model)


def test_every_public_name_is_documented() -> None:
    for name in cenote.__all__:
        assert name.startswith("__") or getattr(cenote, name).__doc__, name
