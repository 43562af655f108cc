"""A Mage block without Mage: its decorators are identities, so the file runs by itself and its function is called as it is."""

from __future__ import annotations

import runpy
from pathlib import Path

BLOCK = '''
if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer


@transformer
def transform(rows, *args, **kwargs):
    """Minutes of delay, never negative."""
    return [{**row, "delay": max(0.0, row["arrived"] - row["planned"])} for row in rows]
'''


def test_the_blocks_function(tmp_path: Path) -> None:
    path = tmp_path / "delay.py"
    path.write_text(BLOCK)
    block = runpy.run_path(str(path), init_globals={"transformer": lambda f: f, "test": lambda f: f})
    assert block["transform"]([{"arrived": 10, "planned": 4}, {"arrived": 3, "planned": 4}])[0]["delay"] == 6.0
    assert block["transform"]([{"arrived": 3, "planned": 4}])[0]["delay"] == 0.0
