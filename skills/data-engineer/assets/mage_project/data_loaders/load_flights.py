"""Raw flights, one row a flight: carrier, flight, dep_time, arr_delay (minutes, missing if cancelled)."""

import csv
from pathlib import Path

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_loader
def load(*args, **kwargs):
    with Path(kwargs["raw"]).open(newline="", encoding="utf-8") as handle:
        return [
            {
                "carrier": r["carrier"],
                "flight": int(r["flight"]),
                "dep_time": r["dep_time"],
                "arr_delay": float(r["arr_delay"]) if r["arr_delay"] else None,
            }
            for r in csv.DictReader(handle)
        ]


@test
def test_output(output, *args):
    assert output, "no flights"
    assert all(r["carrier"] for r in output), "a flight without carrier"
