"""The scripts over public code that nobody here wrote: what was run, what was found, which errors were read and are true.

`CENOTE_CORPUS` names a folder of checkouts, each by its repository's name (`dispatch` for Netflix/dispatch). As a program it runs
everything that is there and writes the table of `corpus.md` anew; the slow test `test_corpus.py` judges each run by `true`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from support import Run, load, run, script

CORPUS = Path(os.environ.get("CENOTE_CORPUS", "/nonexistent"))
TABLE = Path(__file__).with_name("corpus.md")
REPOSITORIES = {
    "adr": "joelparkerhenderson/architecture-decision-record a5c0ed4",
    "awesome-compose": "docker/awesome-compose 18f59bd",
    "dispatch": "Netflix/dispatch dd2837e82",
    "fastapi": "fastapi/fastapi c3f316b7e",
    "feast": "feast-dev/feast f0bc0700b",
    "full-stack-fastapi-template": "fastapi/full-stack-fastapi-template 68adb40d",
    "h2o-tutorials": "h2oai/h2o-tutorials 050c22419",
    "httpx": "encode/httpx ae1b9f66",
    "kserve": "kserve/kserve aaac4e294",
    "locust": "locustio/locust 407343d0",
    "mage-ai": "mage-ai/mage-ai 5640c790a",
    "microservices-demo": "GoogleCloudPlatform/microservices-demo 34ffea917",
    "optuna": "optuna/optuna 1d8ce7bb6",
    "polar": "polarsource/polar c6c3645e63",
}
SOURCES = ("detect_blocking_calls", "lint_endpoints", "validate_async_drivers", "scan_api_security", "lint_resilience")
# Errors that were read one by one and judged true, by (script, folder). What is not named here has none.
TRUE: dict[tuple[str, str], set[str]] = {}
PYTHON = ("dispatch/src/dispatch", "fastapi/docs_src", "fastapi/fastapi", "feast/sdk/python/feast", "full-stack-fastapi-template/backend/app",
          "httpx/httpx", "kserve/python/kserve", "locust/locust", "mage-ai/mage_ai/server", "optuna/optuna", "polar/server/polar")  # fmt: skip
CHAINS = ("dispatch/src/dispatch/database/revisions/tenant/versions", "full-stack-fastapi-template/backend/app/alembic/versions",
          "mage-ai/mage_ai/orchestration/db/migrations/versions", "optuna/optuna/storages/_rdb/alembic/versions",
          "polar/server/migrations/versions")  # fmt: skip
DEPLOYED = (
    "awesome-compose",
    "dispatch",
    "feast",
    "full-stack-fastapi-template",
    "kserve",
    "locust",
    "mage-ai",
    "microservices-demo",
    "optuna",
    "polar",
)
WHOLE = ("awesome-compose", "dispatch", "full-stack-fastapi-template", "httpx", "locust", "microservices-demo", "optuna")
RUNS: list[tuple[str, str]] = [
    *((name, folder) for folder in PYTHON for name in SOURCES),
    *(("validate_schema_migration", folder) for folder in CHAINS),
    *(("scan_dockerfile", folder) for folder in DEPLOYED),
    # kserve's install/ holds 128 MB of one rendered manifest after another
    *((name, folder.replace("kserve", "kserve/config")) for folder in DEPLOYED for name in ("validate_manifests", "check_memory_allocation")),
    *(("check_secrets_exposure", folder) for folder in WHOLE),
    *(("verify_mojo_artifact", folder) for folder in ("dispatch", "feast/sdk", "h2o-tutorials", "mage-ai/mage_ai/server")),
    ("validate_pipeline", "mage-ai"), ("check_mage_blocks", "mage-ai"), ("check_adr", "adr/locales/en"),
]  # fmt: skip


@dataclass
class Kept:
    """The last tree that was parsed, for the five scripts that read the same one."""

    key: tuple[str, ...] = ()
    project: Any = None
    report: Any = None


KEPT = Kept()


def parsed_once(real: Callable[..., Any]) -> Callable[..., Any]:
    def once(report: Any, targets: Any, exclude: Any = ()) -> Any:
        key = tuple(map(str, targets))
        if KEPT.key != key:
            KEPT.key, KEPT.project, KEPT.report = key, real(report, targets, exclude), report
        report.scanned, report.skipped = KEPT.report.scanned, list(KEPT.report.skipped)
        report._texts, report.targets = dict(KEPT.report._texts), list(KEPT.report.targets)
        return KEPT.project

    once.__wrapped__ = real  # type: ignore[attr-defined]
    return once


def go(name: str, folder: str) -> Run:
    module = load(script(name))
    if hasattr(module, "load") and not hasattr(module.load, "__wrapped__"):
        module.load = parsed_once(module.load)
    return run(name, CORPUS / folder)


def untrue(name: str, folder: str, result: Run) -> list[dict[str, Any]]:
    """The error-level findings that nobody has judged true."""
    return [
        f for f in result.json["findings"] if f["severity"] == "error" and f["rule_id"] not in TRUE.get((name, folder), set())
    ]


def rows() -> list[str]:
    out = []
    for name, folder in RUNS:
        if not (CORPUS / folder).is_dir():
            continue
        report = go(name, folder).json
        counts = report["summary"]
        errors: dict[str, int] = {}
        for f in report["findings"]:
            if f["severity"] == "error":
                errors[f["rule_id"]] = errors.get(f["rule_id"], 0) + 1
        told = ", ".join(f"{rule} {count}" for rule, count in sorted(errors.items())) or "-"
        out.append(
            f"| {folder} | {name} | {report['scanned']} | {counts['error']} | {counts['warning']} | {counts['info']} | {told} |"
        )
        print(out[-1], flush=True)
    return out


if __name__ == "__main__":
    text = TABLE.read_text(encoding="utf-8")
    head, _, _ = text.partition("<!-- table -->")
    table = ["| folder | script | files | errors | warnings | infos | the errors |", "|---|---|---|---|---|---|---|", *rows()]
    TABLE.write_text(head + "<!-- table -->\n\n" + "\n".join(table) + "\n", encoding="utf-8")
