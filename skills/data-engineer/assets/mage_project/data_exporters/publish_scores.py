"""Scores the keys with the model in production, in blocks of one query each, and writes the scores into a view of their own."""

import os
from datetime import UTC
from pathlib import Path

import cenote

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter

BLOCK = 10_000


@data_exporter
def export(batch, *args, **kwargs):
    views = Path(kwargs["views"])
    features, scores = (cenote.View((views / f"{name}.json").read_text()) for name in ("flight_features", "flight_scores"))
    name = kwargs["model"]
    at = kwargs["execution_date"]  # not the clock: a retry and a backfill write the rows of their own run
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    keys = batch["keys"]
    written = 0
    with cenote.FeatureStore.connect(os.environ[kwargs["dsn_variable"]], read_timeout=60) as store:
        serving = next(v for v in store.list_models(name) if "production" in v.aliases)
        plan = store.plan(store.load_model(f"{name}:{serving.version}"), features)
        store.apply(scores)
        for start in range(0, len(keys), BLOCK):
            block = keys[start : start + BLOCK]
            answer = plan.score_many(block)
            late, status = answer.to_dict()["Yes"], answer.status
            rows = [
                {"flight_id": key, "event_ts": at, "model": f"{name}:{serving.version}", "late": late[i]}
                for i, key in enumerate(block)
                if status[i] != "missing"
            ]
            store.upsert(scores, rows)
            written += len(rows)
    return {"rows": written}
