"""Writes the rows into their feature view: of a key the newest event wins, so that running twice, or late, changes nothing that is right."""

import os
from datetime import datetime
from pathlib import Path

import cenote

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter


def flat(rows):
    """Children's outputs arrive as a list of lists where they were reduced."""
    for row in rows:
        if isinstance(row, dict):
            yield row
        else:
            yield from flat(row)


@data_exporter
def export(rows, *args, **kwargs):
    view = cenote.View((Path(kwargs["views"]) / "flight_features.json").read_text())
    table = [{**row, "event_ts": datetime.fromisoformat(row["event_ts"])} for row in flat(rows)]
    with cenote.FeatureStore.connect(os.environ[kwargs["dsn_variable"]]) as store:
        store.apply(view)
        done = store.upsert(view, table)
    return {"inserted": done.inserted, "updated": done.updated, "stale": done.stale}
