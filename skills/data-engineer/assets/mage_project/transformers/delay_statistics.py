"""Delay statistics of one carrier, one row a flight number. The event's time is that of its latest departure."""

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@transformer
def transform(item, *args, **kwargs):
    rows = {}
    for flight in item["flights"]:
        rows.setdefault(flight["flight"], []).append(flight)
    out = []
    for number, flights in sorted(rows.items()):
        delays = [f["arr_delay"] for f in flights if f["arr_delay"] is not None]
        out.append(
            {
                "carrier": item["carrier"],
                "flight_number": number,
                "event_ts": max(f["dep_time"] for f in flights),
                "mean_delay_30d": sum(delays) / len(delays) if delays else None,
                "flights_30d": len(flights),
            }
        )
    return out


@test
def test_output(output, *args):
    assert output is not None, "nothing came out"
