"""Feature rows of one carrier's flights, one row a flight: what is known before it leaves. A document that is no flight is left out.

A cell that the document lacks, or that is no number where one belongs, is missing; it never stops the others.
"""

import math

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test

TEXTS = ("carrier", "origin", "dest")
NUMBERS = ("hour", "distance", "temp", "wind_speed", "wind_gust", "precip", "visib", "plane_year", "seats")


def number(value):
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


@transformer
def transform(item, *args, **kwargs):
    newest = {}
    for flight in item["flights"]:
        known = newest.get(flight.get("flight_id"))
        if isinstance(flight.get("flight_id"), int) and (known is None or flight["event_ts"] >= known["event_ts"]):
            newest[flight["flight_id"]] = flight
    rows = [
        {
            "flight_id": key,
            "event_ts": flight["event_ts"],
            **{name: flight.get(name) for name in TEXTS},
            **{name: number(flight.get(name)) for name in NUMBERS},
        }
        for key, flight in sorted(newest.items())
    ]
    return {"rows": rows}


@test
def test_output(output, *args):
    assert "rows" in output, "nothing came out"
