"""The keys to score: every flight of the raw store, ascending."""

import os

import psycopg

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test

QUERY = "SELECT DISTINCT (body ->> 'flight_id')::bigint FROM raw_events WHERE body ->> 'kind' = 'flight' ORDER BY 1"


@data_loader
def load(*args, **kwargs):
    with psycopg.connect(os.environ[kwargs["dsn_variable"]]) as connection:
        return {"keys": [key for (key,) in connection.execute(QUERY)]}


@test
def test_output(output, *args):
    assert output["keys"], "no flights"
