"""Raw flights, one row a document of the raw store: what arrived, as it arrived, since `since` (the time of writing, not of the flight).

Rows go from block to block within a dict: Mage takes a list that is returned bare for that many outputs.
"""

import os

import psycopg

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test

# The watermark is when a document was received: by the event's own time, one that comes late would be lost for ever.
QUERY = """
SELECT body, event_ts FROM raw_events
WHERE body ->> 'kind' = 'flight' AND received_at >= %(since)s::timestamptz ORDER BY event_id
"""


@data_loader
def load(*args, **kwargs):
    with psycopg.connect(os.environ[kwargs["dsn_variable"]]) as connection:
        rows = connection.execute(QUERY, {"since": kwargs["since"]}).fetchall()
    return {"flights": [{**body, "event_ts": event_ts.isoformat()} for body, event_ts in rows]}


@test
def test_output(output, *args):
    assert output["flights"], "no flights"
    assert all(r.get("carrier") for r in output["flights"]), "a flight without carrier"
