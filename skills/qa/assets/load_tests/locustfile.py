"""Open-loop load: each user sends at a fixed pace whatever the answers take, so that a slow server meets a growing queue, as in life.

    LOAD_TOKEN=... LOAD_RATE=200 LOAD_USERS=100 LOAD_WARMUP=10 \\
        locust -f locustfile.py --headless -H http://127.0.0.1:8000 -u 100 -r 100 -t 70s --csv run --json-file run
    python ../../scripts/run_slo_gate.py --results run_stats.csv --p99-threshold 50 --min-rps 190 --endpoint '/v1/score*=50'

LOAD_RATE is what all users send together, requests a second; LOAD_USERS must be locust's -u. With many users and a slow pace each, a
late answer delays no other request. What was measured in the first LOAD_WARMUP seconds is forgotten. LOAD_ROWS is a file with a JSON
list of rows, LOAD_KEYS one with a JSON list of keys. Put the generator on cores of its own.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import gevent
from locust import HttpUser, constant_throughput, events, task

RATE, USERS = float(os.environ.get("LOAD_RATE", "200")), int(os.environ.get("LOAD_USERS", "100"))
WARMUP = float(os.environ.get("LOAD_WARMUP", "0"))


def listed(variable: str, default: list[Any]) -> list[Any]:
    return json.loads(Path(os.environ[variable]).read_text()) if variable in os.environ else default


ROWS = listed("LOAD_ROWS", [{"x": i / 10} for i in range(100)])
KEYS = listed("LOAD_KEYS", [])


@events.test_start.add_listener
def forget_the_warm_up(environment: Any, **_: Any) -> None:
    if WARMUP > 0:
        gevent.spawn_later(WARMUP, environment.stats.reset_all)


class Caller(HttpUser):
    wait_time = constant_throughput(RATE / USERS)

    def on_start(self) -> None:
        self.client.headers["Authorization"] = "Bearer " + os.environ["LOAD_TOKEN"]
        # Users are spread over their pace, or all would send at one instant of it, and the queue of that burst be measured. Locust paces
        # from the user's making on: only who comes later than one pace keeps the moment at which it came.
        gevent.sleep((1 + random.random()) * USERS / RATE)

    @task(9)
    def one_row(self) -> None:
        self.client.post("/v1/score", json={"rows": [random.choice(ROWS)]}, name="/v1/score one")

    @task(2)
    def hundred_rows(self) -> None:
        self.client.post("/v1/score", json={"rows": ROWS[:100]}, name="/v1/score hundred")

    @task(9 if KEYS else 0)
    def entity(self) -> None:
        self.client.get(f"/v1/entities/{random.choice(KEYS)}/score", name="/v1/entities/{key}/score")
