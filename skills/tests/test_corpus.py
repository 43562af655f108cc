"""The scripts over public code, where `CENOTE_CORPUS` names a folder of it (see corpus.py and corpus.md): no error that is not true."""

from __future__ import annotations

import pytest

from corpus import CORPUS, RUNS, go, untrue


@pytest.mark.slow
@pytest.mark.parametrize(("name", "folder"), RUNS, ids=[f"{n}-{f}" for n, f in RUNS])
def test_no_error_that_its_maintainers_would_laugh_at(name: str, folder: str) -> None:
    if not (CORPUS / folder).is_dir():
        pytest.skip(f"CENOTE_CORPUS has no {folder}")
    result = go(name, folder)
    assert "Traceback" not in result.err
    assert result.json["scanned"] > 0
    assert untrue(name, folder, result)[:5] == []
