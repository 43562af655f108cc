"""The product document, line by line: its twelve commands as they are written, its templates, its thirteen skills, its superpowers.

A command is run from the repository's root by the interpreter, as a reader would paste it, with the placeholders filled in.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import FIXTURES, SKILLS, load, script, skills

ROOT = SKILLS.parent
NAMES = """architectural-planner backend-architect code-reviewer data-engineer database-optimizer db-architect deployment-engineer fastapi-pro
implementation-worker lead-engineer-orchestrator ml-engineer qa security-auditor""".split()
# (the command, what stands for its placeholders and folders, its exit code on that)
COMMANDS = [
    ("skills/data-engineer/scripts/validate_pipeline.py <pipeline_path>", {"<pipeline_path>": "skills/data-engineer/assets/mage_project"}, 0),
    ("skills/db-architect/scripts/validate_schema.py <schema.json>", {"<schema.json>": "skills/db-architect/assets/schema_template.json"}, 0),
    ("skills/db-architect/scripts/generate_ddl.py <schema.json> --output schema.sql", {"<schema.json>": "skills/db-architect/assets/schema_template.json"}, 0),
    ("skills/ml-engineer/scripts/validate_mojo.py <model.zip>", {"<model.zip>": "benches/models/gbm_500x6_flights.zip"}, 0),
    ("skills/fastapi-pro/scripts/lint_endpoints.py <api_directory>", {"<api_directory>": "skills/fastapi-pro/assets/app"}, 0),
    ("skills/deployment-engineer/scripts/scan_dockerfile.py <Dockerfile>", {"<Dockerfile>": "skills/deployment-engineer/assets/Dockerfile.template"}, 0),
    ("skills/code-reviewer/scripts/detect_blocking_calls.py --source-dir ./src/api", {"./src/api": "skills/fastapi-pro/assets/app"}, 0),
    ("skills/code-reviewer/scripts/validate_schema_migration.py --migration-dir ./alembic/versions", {"./alembic/versions": "skills/tests/fixtures/validate_schema_migration/clean_alembic"}, 0),
    ("skills/qa/scripts/validate_async_drivers.py --source-dir ./src/inference", {"./src/inference": "skills/fastapi-pro/assets/app"}, 0),
    ("skills/qa/scripts/run_slo_gate.py --results locust_stats.csv --p99-threshold 50", {"locust_stats.csv": "skills/tests/fixtures/run_slo_gate/good_stats.csv"}, 0),
    ("skills/security-auditor/scripts/scan_api_security.py --source-dir ./src/api", {"./src/api": "skills/fastapi-pro/assets/app"}, 0),
    ("skills/security-auditor/scripts/check_secrets_exposure.py --source-dir ./", {"./": "skills/fastapi-pro/assets"}, 0),
]  # fmt: skip
TEMPLATES = """data-engineer/assets/mage_pipeline_template.py data-engineer/assets/mage_block_template.py db-architect/assets/schema_template.json
ml-engineer/assets/h2o_training_template.py ml-engineer/assets/mage_pipeline/ fastapi-pro/assets/fastapi_project_template/ fastapi-pro/assets/app/
deployment-engineer/assets/Dockerfile.template deployment-engineer/assets/docker-compose.yml code-reviewer/assets/templates/code_review_report.md
code-reviewer/assets/checklists/ qa/assets/pytest.ini qa/assets/unit_tests/ qa/assets/integration_tests/ qa/assets/load_tests/
security-auditor/assets/templates/security_audit_report.md security-auditor/assets/checklists/""".split()
# What the document says of its meta agents -> the check that keeps the promise
PROMISES = {
    "Async Non-Blocking Radar": ("detect_blocking_calls", "BLK001"), "Schema Drift Detector": ("validate_schema_migration", "MIG002"),
    "Artifact Integrity Scanner": ("verify_mojo_artifact", "ART002"), "Resource Isolation Sight": ("check_memory_allocation", "MEM008"),
    "JTBD framework": ("validate_plan", "PLN009"), "4+1 Architectural Views": ("validate_plan", "PLN005"),
    "Definition of Done": ("validate_plan", "PLN002"), "dialectical reasoning": ("check_adr", "ADR002"),
    "Iron Law of TDD": ("check_tdd", "TDD002"), "Reports back with artifacts": ("check_task", "TSK006"),
    "governance": ("review_gate", "GTE001"), "blocking detection": ("measure_event_loop", "LAG003"),
    "thread pool verification": ("validate_async_drivers", "DRV009"), "SLO gating": ("run_slo_gate", "SLO001"),
    "scope-based access": ("scan_api_security", "SEC002"), "Rate limiting": ("scan_api_security", "SEC006"),
    "injection prevention": ("scan_api_security", "SEC007"), "JSON schema validation": ("scan_api_security", "SEC013"),
    "Multi-stage builds": ("scan_dockerfile", "DKR009"), "non-root users": ("scan_dockerfile", "DKR001"),
    "CVE scanning": ("scan_dependencies", "DEP001"), "PII masking": ("scan_api_security", "SEC017"),
    "Model signing": ("sign_model", "SGN002"), "pickle elimination": ("verify_mojo_artifact", "ART001"),
    "circuit breakers": ("lint_resilience", "RES002"), "GraphQL": ("lint_resilience", "RES006"),
    "GIN health": ("check_db_health", "PGH001"), "WAL orchestration": ("check_db_health", "PGH005"), "query plans": ("check_query_plan", "QPL006"),
    "dynamic blocks": ("check_mage_blocks", "BLOCK001"), "K8s manifests": ("validate_manifests", "MAN001"),
}  # fmt: skip


def test_the_thirteen_skills_are_there_with_their_folders() -> None:
    assert [s.name for s in skills()] == sorted(NAMES)
    for skill in skills():
        for part in ("scripts", "assets", "references", "evals"):
            assert any((skill / part).iterdir()), f"{skill.name}/{part}"
        assert list((skill / "scripts").glob("[a-z]*.py")), f"{skill.name} has no script"


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_template_that_is_named_exists(name: str) -> None:
    path = SKILLS / name
    assert path.is_dir() and any(path.iterdir()) if name.endswith("/") else path.stat().st_size > 0


@pytest.mark.parametrize(("command", "fill", "code"), COMMANDS, ids=[c.split("/")[3].split(".")[0] for c, _, _ in COMMANDS])
def test_each_command_works_as_written(command: str, fill: dict[str, str], code: int, tmp_path: Path) -> None:
    if "validate_mojo" in command:
        pytest.importorskip("cenote", reason="the wheel is not installed")
    for placeholder, real in fill.items():
        assert (ROOT / real).exists(), real
        command = command.replace(placeholder, real)
    if "schema.sql" in command:
        command = command.replace("schema.sql", str(tmp_path / "schema.sql"))
    words = [sys.executable, *shlex.split(command)]
    done = subprocess.run([*words, "--format", "json"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    report = json.loads(done.stdout)
    assert (done.returncode, report["exit_code"]) == (code, code), done.stdout[-2000:] + done.stderr
    assert report["scanned"] > 0
    text = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert text.returncode == code and "Traceback" not in text.stderr
    assert text.stdout.strip(), "what was checked is said"


@pytest.mark.parametrize("promise", sorted(PROMISES))
def test_each_promise_is_a_rule_of_a_script(promise: str) -> None:
    name, rule = PROMISES[promise]
    assert rule in {r.id for r in load(script(name)).TOOL.rules}


def test_an_installed_skill_travels_alone(tmp_path: Path) -> None:
    """Each skill folder, copied to where nothing else of this repository is, still answers for each of its scripts."""
    for skill in skills():
        copy = tmp_path / skill.name
        shutil.copytree(skill / "scripts", copy / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        for path in sorted((copy / "scripts").glob("[a-z]*.py")):
            done = subprocess.run([sys.executable, str(path), "--help"], capture_output=True, text=True, cwd=tmp_path, timeout=60)
            assert done.returncode == 0, done.stderr
    assert FIXTURES.is_dir()
