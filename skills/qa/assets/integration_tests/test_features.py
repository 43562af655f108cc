"""Keys to scores through a real PostgreSQL: TEST_DATABASE_URL names a scratch database."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

pytestmark = [pytest.mark.live, pytest.mark.skipif("TEST_DATABASE_URL" not in os.environ, reason="TEST_DATABASE_URL is not set")]
VIEW = {"name": "qa_view", "version": 1, "keys": [{"name": "id", "type": "i64"}, {"name": "kind", "type": "text"}],
        "features": [{"name": "x", "type": "f64"}], "ttl_seconds": 3600}  # fmt: skip


async def test_entities_by_composite_key(serve: Callable[..., Any], headers: dict[str, str], tmp_path: Path) -> None:
    url = os.environ["TEST_DATABASE_URL"]
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            """DROP SCHEMA IF EXISTS qa CASCADE; CREATE SCHEMA qa;
               CREATE TABLE qa.qa_view_v1 (id bigint, kind text COLLATE "C", event_ts timestamptz NOT NULL, written_at timestamptz NOT NULL DEFAULT now(),
                                           x float8, PRIMARY KEY (id, kind));
               INSERT INTO qa.qa_view_v1 VALUES (1, '23', now(), now(), 10), (12, '3', now(), now(), 20), (7, 'old', now() - interval '2 hours', now(), 30)"""
        )
        path = tmp_path / "view.json"
        path.write_text(json.dumps(VIEW))
        client = await serve(database_url=url, view_path=path, store_schema="qa")
        for key, wanted in (("1,23", 20.0), ("12,3", 40.0)):
            got = await client.get(f"/v1/entities/{key}/score", headers=headers)
            assert got.json()["prediction"] == {"predict": wanted}, key
        assert (await client.get("/v1/entities/7,old/score", headers=headers)).status_code == 404, "older than its time to live"
        assert (await client.get("/v1/entities/9,x/score", headers=headers)).status_code == 404
        assert (await client.get("/v1/entities/x/score", headers=headers)).status_code == 422
        query = {"query": '{ entities(keys: ["12,3", "9,x", "1,23"]) { key features prediction } }'}
        rows = (await client.post("/graphql", json=query, headers=headers)).json()["data"]["entities"]
        assert [r["prediction"] for r in rows] == [{"predict": 40.0}, None, {"predict": 20.0}]
        assert (await client.get("/health/ready")).status_code == 200
    finally:
        await connection.execute("DROP SCHEMA IF EXISTS qa CASCADE")
        await connection.close()


async def test_a_dead_database_is_503_at_once_and_readiness_says_so(
    serve: Callable[..., Any], headers: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "view.json"
    path.write_text(json.dumps(VIEW))
    client = await serve(database_url=os.environ["TEST_DATABASE_URL"], view_path=path, store_schema="nowhere")
    await client.application.state.features._pool.close()
    assert (await client.get("/v1/entities/1,23/score", headers=headers)).status_code == 503
    assert (await client.get("/health/ready")).status_code == 503
    assert (await client.get("/health/live")).status_code == 200
