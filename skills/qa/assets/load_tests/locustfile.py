"""Open-loop load: each user sends at a fixed pace whatever the answers take, so that a slow server meets a growing queue, as in life.

    LOAD_TOKEN=... locust -f locustfile.py --headless -H http://127.0.0.1:8000 -u 50 -r 50 -t 90s --csv run --json-file run
    python ../../scripts/run_slo_gate.py --results run_stats.csv --p99-threshold 50 --min-rps 200 --endpoint '/v1/score*=50'

Rate = users x LOAD_PACE (requests a second a user). Put the generator on cores of its own, and give it a warm-up that is not counted.
"""

from __future__ import annotations

import json
import os
import random

from locust import HttpUser, constant_throughput, task

PACE = float(os.environ.get("LOAD_PACE", "4"))
ROWS = json.loads(os.environ["LOAD_ROWS"]) if "LOAD_ROWS" in os.environ else [{"x": i / 10} for i in range(100)]
KEYS = os.environ.get("LOAD_KEYS", "").split(";") if os.environ.get("LOAD_KEYS") else []


class Caller(HttpUser):
    wait_time = constant_throughput(PACE)

    def on_start(self) -> None:
        self.client.headers["Authorization"] = "Bearer " + os.environ["LOAD_TOKEN"]

    @task(8)
    def one_row(self) -> None:
        self.client.post("/v1/score", json={"rows": [random.choice(ROWS)]}, name="/v1/score one")

    @task(1)
    def hundred_rows(self) -> None:
        self.client.post("/v1/score", json={"rows": ROWS[:100]}, name="/v1/score hundred")

    @task(8 if KEYS else 0)
    def entity(self) -> None:
        self.client.get(f"/v1/entities/{random.choice(KEYS)}/score", name="/v1/entities/{key}/score")
