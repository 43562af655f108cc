"""Flights that have landed, with the features that the store gives for them: one row a flight.

A flight's features are those of before its departure and never change after it, so what the store holds now is what it held then. For
features that go on changing, join as of each label's time instead.
"""

import os
from pathlib import Path

import cenote
import psycopg

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test

QUERY = """
SELECT (body ->> 'flight_id')::bigint, (body ->> 'arr_delay')::float8, event_ts FROM raw_events
WHERE body ->> 'kind' = 'flight' AND body ->> 'arr_delay' IS NOT NULL ORDER BY event_ts, 1
"""


@data_loader
def load(*args, **kwargs):
    dsn = os.environ[kwargs["dsn_variable"]]
    view = cenote.View((Path(kwargs["views"]) / "flight_features.json").read_text())
    with psycopg.connect(dsn) as connection:
        labels = connection.execute(QUERY).fetchall()
    with cenote.FeatureStore.connect(dsn, read_timeout=60) as store:
        found = store.get_many(view, [key for key, _, _ in labels])
    status = found.status
    columns = {name: values for name, values in found.to_dict().items() if name in view.features}
    rows = [
        {"event_ts": at.isoformat(), "arr_delay": delay, **{name: values[i] for name, values in columns.items()}}
        for i, (_, delay, at) in enumerate(labels)
        if status[i] == "fresh"
    ]
    return {"rows": rows}


@test
def test_output(output, *args):
    assert len(output["rows"]) > 100, "too few rows to train on"
