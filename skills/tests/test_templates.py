"""The templates run as a user would run them: copied out of the skills, in a folder of their own, by a fresh interpreter."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import SKILLS, run

REPO = SKILLS.parent
PRO, QA, PROJECT = SKILLS / "fastapi-pro/assets", SKILLS / "qa/assets", SKILLS / "data-engineer/assets/mage_project"
INSTALLED = shutil.which("redis-server") and list(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
for package in (
    "fastapi",
    "asgi_lifespan",
    "httpx2",
    "blockbuster",
    "limits",
    "strawberry",
    "asyncpg",
    "prometheus_client",
    "pydantic_settings",
):
    pytest.importorskip(package)


def suite(folder: Path, *words: str, **env: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "TEST_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**clean, **env},
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


def test_the_service_template_passes_its_own_tests(tmp_path: Path) -> None:
    shutil.copytree(PRO / "fastapi_project_template", tmp_path / "service")
    shutil.copytree(PRO / "app", tmp_path / "service/app", ignore=shutil.ignore_patterns("__pycache__"))
    assert "passed" in suite(tmp_path / "service")


def test_the_suites_of_qa_pass_on_the_service(tmp_path: Path) -> None:
    """On a real PostgreSQL, a real Redis and the demo's model, whose answers H2O itself gave."""
    demo = REPO / "fixtures/demo"
    shutil.copytree(QA, tmp_path / "qa", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PRO / "app", tmp_path / "qa/app", ignore=shutil.ignore_patterns("__pycache__"))
    out = suite(
        tmp_path / "qa",
        TEST_MODEL=str(demo / "model.zip"),
        TEST_VIEW=str(PROJECT / "views/flight_features.json"),
        TEST_ROWS=str(demo / "flights.csv"),
        TEST_EXPECTED=str(demo / "expected.csv"),
        TEST_MISFIT=str(REPO / "fixtures/zoo/gbm_multinomial_iris/model.zip"),
    )
    assert "skipped" not in out or not INSTALLED, out[-2000:]


def test_the_suites_of_qa_skip_what_they_cannot_run(tmp_path: Path) -> None:
    shutil.copytree(QA, tmp_path / "qa", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PRO / "app", tmp_path / "qa/app", ignore=shutil.ignore_patterns("__pycache__"))
    assert "TEST_MODEL" in suite(tmp_path / "qa", "-m", "live")


@pytest.mark.parametrize(
    "script", ["lint_endpoints", "detect_blocking_calls", "validate_async_drivers", "scan_api_security", "check_secrets_exposure"]
)
def test_the_template_passes_the_skills_own_checks(script: str) -> None:
    result = run(script, PRO / "app", "--fail-on", "warning")
    assert result.code == 0, result.out


def test_the_deployment_templates_pass_theirs() -> None:
    assets = SKILLS / "deployment-engineer/assets"
    assert run("scan_dockerfile", assets / "Dockerfile.template", "--fail-on", "warning").code == 0
    assert run("validate_manifests", assets, "--fail-on", "warning").code == 0
    assert run("check_memory_allocation", assets, "--fail-on", "warning").code == 0
