"""Writes the rows into their feature view: of a key the newest event wins, so that running twice, or late, changes nothing that is right."""

import os
from datetime import datetime
from pathlib import Path

import cenote

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter


@data_exporter
def export(children, *args, **kwargs):
    view = cenote.View((Path(kwargs["views"]) / "flight_features.json").read_text())
    rows = [row for child in children for row in child["rows"]]  # reduced: the outputs of all children, in a list
    table = [{**row, "event_ts": datetime.fromisoformat(row["event_ts"])} for row in rows]
    with cenote.FeatureStore.connect(os.environ[kwargs["dsn_variable"]]) as store:
        store.apply(view)
        done = store.upsert(view, table)
    return {"inserted": done.inserted, "updated": done.updated, "stale": done.stale}
