"""Feast with PostgreSQL online and offline, the same rows and features."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg
from feast import Entity, FeatureStore, FeatureView, Field, RepoConfig, ValueType
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.types import Float64

from .drivers import FEATURES
from .results import Results

logging.getLogger("feast").setLevel(logging.ERROR)
VIEW = "bench"
# Feast writes about a thousand rows a second: its table is smaller than ours, which can only help it.
KEYS = 5_000
REFERENCES = [f"{VIEW}:{feature}" for feature in FEATURES]


class Feast:
    """A repository of one feature view."""

    def __init__(self, dsn: str, schema: str, folder: Path, results: Results) -> None:
        self.dsn, self.schema, self.results = dsn, schema, results
        words = dict(word.split("=", 1) for word in dsn.split())
        database = {
            "type": "postgres", "host": words["host"], "port": int(words["port"]), "database": words["dbname"],
            "user": words["user"], "password": "", "db_schema": "feast", "sslmode": "disable",
        }  # fmt: skip
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("CREATE SCHEMA IF NOT EXISTS feast")
        config = RepoConfig(
            project="peers", provider="local", registry={"path": str(folder / "registry.db"), "cache_ttl_seconds": 0},
            online_store={**database, "conn_type": "pool", "min_conn": 1, "max_conn": 16}, offline_store=database,
            entity_key_serialization_version=3,
        )  # fmt: skip
        self.store = FeatureStore(config=config)
        source = PostgreSQLSource(
            name="past", query="SELECT * FROM feast.past", timestamp_field="event_timestamp",
            created_timestamp_column="created",
        )  # fmt: skip
        entity = Entity(name="id", join_keys=["id"], value_type=ValueType.INT64)
        features = FeatureView(
            name=VIEW, entities=[entity], schema=[Field(name=name, dtype=Float64) for name in FEATURES], source=source,
            ttl=timedelta(days=36_500),
        )  # fmt: skip
        self.store.apply([entity, features])
        self.store.refresh_registry()

    def _frame(self, rows: int) -> pd.DataFrame:
        frame = pd.DataFrame(dict.fromkeys(FEATURES, np.arange(rows) / 3))
        frame.insert(0, "id", np.arange(rows))
        frame["event_timestamp"] = datetime.now(UTC)
        frame["created"] = frame["event_timestamp"]
        return frame

    def upsert(self, rows: int = KEYS) -> None:
        """Writes rows to the online store."""
        frame = self._frame(rows)
        start = time.perf_counter()
        self.store.write_to_online_store(VIEW, df=frame)
        self.results.value("upsert", "feast", "rows_per_s", rows / (time.perf_counter() - start))

    def get(self, calls: int) -> None:
        """One key, and a hundred."""
        for work, keys, count in (("get_1x20", 1, calls), ("get_100x20_arrow", 100, max(3, calls // 10))):
            for call in range(count):
                entities = [{"id": (call * 37 + key * 41) % KEYS} for key in range(keys)]
                start = time.perf_counter()
                found: Any = self.store.get_online_features(features=REFERENCES, entity_rows=entities)
                found = found.to_dict() if keys == 1 else found.to_arrow()
                self.results.sample(work, "feast", [(time.perf_counter() - start) * 1e6])
                values = found["f0"] if keys == 1 else found["f0"].to_pylist()
                assert values == [entity["id"] / 3 for entity in entities]

    async def in_flight(self, clients: int, seconds: float) -> None:
        """As many calls at a time as there are clients, by Feast's own asynchronous reads."""
        end = time.perf_counter() + seconds

        async def client(index: int) -> int:
            calls = 0
            while time.perf_counter() < end:
                entity = [{"id": (index + calls * 37) % KEYS}]
                await self.store.get_online_features_async(features=REFERENCES, entity_rows=entity)
                calls += 1
            return calls

        start = time.perf_counter()
        calls = sum(await asyncio.gather(*(client(index) for index in range(clients))))
        self.results.value(f"in_flight_{clients}", "feast", "calls_per_s", calls / (time.perf_counter() - start))

    def copy_past(self, entities: int, keys: int, events: int) -> None:
        """Our history as a table of Feast's, indexed for the join, and the entities of the join."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(
                "CREATE TABLE feast.past AS SELECT id, event_ts AS event_timestamp, written_at AS created, "
                f'{", ".join(FEATURES)} FROM "{self.schema}".past_v1_history'
            )
            connection.execute("CREATE INDEX ON feast.past (id, event_timestamp DESC)")
            connection.execute(
                "CREATE TABLE feast.entities AS SELECT row * 104729 %% %s AS id, "
                "to_timestamp(row * 7919 %% (%s * 3600)) AS event_timestamp FROM generate_series(0::bigint, %s) AS s(row)",
                (keys, events, entities - 1),
            )
            connection.execute("VACUUM (ANALYZE) feast.past")
            connection.execute("ANALYZE feast.entities")

    def join(self, entities: int, frame: bool, limit: int) -> None:
        """The point-in-time join to Arrow, from a table of entities or from a data frame; given up after `limit` seconds."""
        asked: Any = "SELECT id, event_timestamp FROM feast.entities"
        who = "feast_dataframe" if frame else "feast_sql"
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            if frame:
                rows = connection.execute(asked).fetchall()
                asked = pd.DataFrame(rows, columns=["id", "event_timestamp"])
            connection.execute(f"ALTER ROLE CURRENT_USER SET statement_timeout = '{limit}s'")
            start = time.perf_counter()
            try:
                table = self.store.get_historical_features(entity_df=asked, features=REFERENCES).to_arrow()
                assert table.num_rows == entities
            except psycopg.errors.QueryCanceled:
                self.results.value("join", who, "gave_up", 1)
            self.results.value("join", who, "s", time.perf_counter() - start)
            connection.execute("ALTER ROLE CURRENT_USER RESET statement_timeout")
