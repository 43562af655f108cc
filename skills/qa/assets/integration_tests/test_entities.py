"""Keys to H2O's own scores through the whole service: HTTP, GraphQL and the V2 protocol over a real store and a real model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conftest import World, metric

pytestmark = pytest.mark.live


async def test_every_entity_scores_as_h2o_scored_it(start: Callable[..., Any], world: World, headers: dict[str, str]) -> None:
    client = await start(**world.settings)
    got = await client.post("/v1/entities/score", json={"keys": list(world.expected)}, headers=headers)
    assert got.status_code == 200, got.text
    assert all(s["status"] == "fresh" for s in got.json()["scores"])
    assert [k for k, s in zip(world.expected, got.json()["scores"], strict=True) if not world.agrees(k, s["prediction"])] == []
    assert {s["version"] for s in got.json()["scores"]} == {"tested:1"}
    for key in list(world.expected)[:20]:
        one = await client.get(f"/v1/entities/{key}/score", headers=headers)
        assert one.status_code == 200 and world.agrees(key, one.json()["prediction"]), key


async def test_what_is_not_there_and_what_is_no_key(start: Callable[..., Any], world: World, headers: dict[str, str]) -> None:
    client = await start(**world.settings)
    assert (await client.get("/v1/entities/-1/score", headers=headers)).status_code == 404
    for wrong in ("x", "1,2", "1.5", "99999999999999999999999"):
        assert (await client.get(f"/v1/entities/{wrong}/score", headers=headers)).status_code == 422, wrong
    body = {"keys": [next(iter(world.expected)), "-1"]}
    scores = (await client.post("/v1/entities/score", json=body, headers=headers)).json()["scores"]
    assert scores[0]["status"] == "fresh" and scores[1] is None


async def test_the_cache_answers_the_second_time(start: Callable[..., Any], world: World, headers: dict[str, str]) -> None:
    client = await start(**world.settings)
    key = list(world.expected)[-1]
    first = await client.get(f"/v1/entities/{key}/score", headers=headers)
    hits, calls = metric("app_cache_total", outcome="hit"), metric("app_store_calls_total", call="score")
    second = await client.get(f"/v1/entities/{key}/score", headers=headers)
    assert second.json() == first.json()
    assert metric("app_cache_total", outcome="hit") == hits + 1 and metric("app_store_calls_total", call="score") == calls


async def test_graphql_asks_each_store_once(start: Callable[..., Any], world: World, headers: dict[str, str]) -> None:
    client = await start(**world.settings)
    keys = list(world.expected)[:50]
    before = {call: metric("app_store_calls_total", call=call) for call in ("features", "score")}
    query = "query($keys: [String!]!) { entities(keys: $keys) { key features prediction raw } }"
    got = await client.post("/graphql", json={"query": query, "variables": {"keys": [*keys, "-1"]}}, headers=headers)
    entities = got.json()["data"]["entities"]
    assert [e["key"] for e in entities] == [*keys, "-1"]
    assert all(world.agrees(e["key"], e["prediction"]) for e in entities[:-1])
    assert entities[-1] == {"key": "-1", "features": None, "prediction": None, "raw": []}
    assert entities[0]["raw"][0]["key"] == keys[0] and set(entities[0]["features"]) >= {"carrier", "origin"}
    for call, count in before.items():
        assert metric("app_store_calls_total", call=call) == count + 1, f"{call}: one query for 51 entities"


async def test_graphql_is_bounded_and_guarded(start: Callable[..., Any], world: World, headers: dict[str, str]) -> None:
    client = await start(**world.settings)
    key = next(iter(world.expected))
    assert (await client.post("/graphql", json={"query": "{ __typename }"})).status_code == 401
    for query, word in (
        ("{ " + " ".join(f'a{i}: entities(keys: ["{key}"]) {{ key }}' for i in range(20)) + " }", "aliases"),
        ("{ entities(keys: [" + ",".join(f'"{i}"' for i in range(5_000)) + "]) { key } }", "token"),
        ('{ entities(keys: ["x"]) { key } }', "the key is"),
        ("{ a { b { c { d { e { f { g } } } } } } }", "depth"),
    ):
        answer = (await client.post("/graphql", json={"query": query}, headers=headers)).json()
        assert word in str(answer.get("errors")).lower(), (word, answer)


async def test_v2_describes_and_scores_a_real_model(start: Callable[..., Any], world: World, headers: dict[str, str]) -> None:
    client = await start(**world.settings)
    described = (await client.get("/v2/models/tested", headers=headers)).json()
    inputs = {i["name"]: i["datatype"] for i in described["inputs"]}
    assert described["platform"] == "h2o_mojo" and described["versions"] == ["tested:1"] and "BYTES" in inputs.values()
    key = next(iter(world.expected))
    query = f'{{ entities(keys: ["{key}"]) {{ features }} }}'
    features = (await client.post("/graphql", json={"query": query}, headers=headers)).json()["data"]["entities"][0]["features"]
    tensors = [{"name": n, "shape": [1, 1], "datatype": kind, "data": [[features[n]]]} for n, kind in inputs.items()]
    got = await client.post("/v2/models/tested/infer", json={"inputs": tensors}, headers=headers)
    assert got.status_code == 200, got.text
    assert world.agrees(key, {o["name"]: o["data"][0] for o in got.json()["outputs"]})
