"""The scripts over public code that nobody here wrote. `SKILLS_CORPUS` is a folder of checkouts, each by its repository's name:

fastapi/full-stack-fastapi-template, Netflix/dispatch, docker/awesome-compose, encode/httpx, and mage-ai/mage-ai's templates as `mage`.
For each run: the rules whose error-level findings were read one by one and judged true. Another rule, or a traceback, fails.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support import run

CORPUS = Path(os.environ.get("SKILLS_CORPUS", "/nonexistent"))
# (script, folder, error rules that were read and are true)
RUNS = [
    ("detect_blocking_calls", "dispatch/src/dispatch", set()),
    ("detect_blocking_calls", "httpx/httpx", set()),
    ("lint_endpoints", "dispatch/src/dispatch", set()),
    ("lint_endpoints", "full-stack-fastapi-template/backend/app", set()),
    ("validate_async_drivers", "dispatch/src/dispatch", set()),
    ("validate_async_drivers", "httpx/httpx", set()),
    ("scan_api_security", "dispatch/src/dispatch", set()),
    ("scan_api_security", "full-stack-fastapi-template/backend/app", set()),
    # requests without timeout=, and a tenacity.retry without stop=: each is what the source says
    ("lint_resilience", "dispatch/src/dispatch", {"RES001", "RES003"}),
    # foreign keys and indexes on live tables, type changes: true of a large table; the chain does not tell how large
    ("validate_schema_migration", "dispatch/src/dispatch/database/revisions/tenant/versions", {"MIG005", "MIG007", "MIG008"}),
    ("validate_schema_migration", "full-stack-fastapi-template/backend/app/alembic/versions", {"MIG007"}),
    # images that run as root, and `curl | sh`
    ("scan_dockerfile", "full-stack-fastapi-template", {"DKR001", "DKR005"}),
    ("scan_dockerfile", "dispatch", {"DKR001", "DKR005"}),
    ("scan_dockerfile", "awesome-compose", {"DKR001", "DKR005"}),
    # samples with literal passwords, untagged images, published databases
    ("validate_manifests", "awesome-compose", {"MAN007", "MAN010", "MAN011", "MAN012"}),
    ("check_memory_allocation", "awesome-compose", {"MEM008"}),
    ("check_secrets_exposure", "full-stack-fastapi-template", set()),
    ("check_secrets_exposure", "dispatch", set()),
    ("check_secrets_exposure", "awesome-compose", set()),
    ("check_secrets_exposure", "httpx", set()),
    ("verify_mojo_artifact", "dispatch", set()),
    ("validate_pipeline", "mage", set()),
    ("check_mage_blocks", "mage", set()),
]


@pytest.mark.slow
@pytest.mark.parametrize(("script", "folder", "true"), RUNS, ids=[f"{s}-{f}" for s, f, _ in RUNS])
def test_no_error_that_its_maintainers_would_laugh_at(script: str, folder: str, true: set[str]) -> None:
    if not (CORPUS / folder).is_dir():
        pytest.skip(f"SKILLS_CORPUS has no {folder}")
    result = run(script, CORPUS / folder)
    assert "Traceback" not in result.err
    errors = [f for f in result.json["findings"] if f["severity"] == "error"]
    assert {f["rule_id"] for f in errors} <= true, [f for f in errors if f["rule_id"] not in true][:5]
    assert result.json["scanned"] > 0
