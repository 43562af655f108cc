"""Models served from Python: the registry's versions, hot swaps, canaries and shadows, decisions, parity, the cache."""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest
from server import postgres

import cenote

DEMO = Path(__file__).resolve().parents[2] / "fixtures" / "demo"
NOW = datetime.now(timezone.utc)
ABSENT = ["origin", "dest", "temp", "wind_speed", "wind_gust", "precip", "visib", "plane_year", "seats"]


def variant(intercept: float) -> cenote.Model:
    """The demo's model with another intercept."""
    out = io.BytesIO()
    with zipfile.ZipFile(DEMO / "model.zip") as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "model.ini":
                lines = [f"init_f = {intercept}" if line.startswith("init_f") else line
                         for line in data.decode().splitlines()]
                data = ("\n".join(lines) + "\n").encode()
            target.writestr(name, data)
    return cenote.load(out.getvalue())


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with postgres() as dsn:
        yield dsn


@pytest.fixture(scope="module")
def store(dsn: str) -> Iterator[cenote.FeatureStore]:
    with cenote.FeatureStore.connect(dsn) as store:
        yield store


@pytest.fixture(scope="module")
def view(store: cenote.FeatureStore) -> cenote.View:
    view = cenote.View({
        "name": "flights", "keys": [{"name": "flight", "type": "i64"}], "history": {},
        "features": [{"name": "carrier", "type": "text"}, {"name": "distance", "type": "f64"}, {"name": "hour", "type": "i16"}],
    })
    store.apply(view)
    store.upsert(view, [{"flight": flight, "carrier": "UA", "distance": 100.0 * flight, "hour": flight % 24, "event_ts": NOW}
                        for flight in range(100)])
    return view


@pytest.fixture(scope="module")
def models(store: cenote.FeatureStore) -> list[cenote.Model]:
    store.apply_registry()
    models = [cenote.load(DEMO / "model.zip"), variant(-2.5), variant(0.5)]
    for auc, model in zip([0.7, 0.8, 0.9], models, strict=True):
        version = store.register_model("late", model, metrics={"auc": auc}, tags={"by": "test"},
                                       golden_rows=[{"carrier": "UA", "hour": 8}, {"distance": 1e3, "temp": None}])
        assert (version.metrics, version.tags, version.golden_rows) == ({"auc": auc}, {"by": "test"}, 2)
    assert version.input_types[:4] == ["categorical"] * 3 + ["numeric"]
    assert version.outputs == ["predict", "No", "Yes"]
    return models


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "the condition did not come true within 20 s"
        time.sleep(0.02)


def alone(model: cenote.Model, flight: int) -> dict[str, Any]:
    return model.predict({"carrier": "UA", "distance": 100.0 * flight, "hour": flight % 24})


def test_swap(store: cenote.FeatureStore, view: cenote.View, models: list[cenote.Model]) -> None:
    store.promote_model("late", "production", 1)
    served = store.watch_model("late@production", view, absent=ABSENT)
    assert (served.version.version, served.view) == (1, view)
    assert served.model.to_bytes() == models[0].to_bytes()
    until(lambda: served.state.listening)
    score = served.score(7)
    assert (score.version, score.prediction) == (1, alone(models[0], 7))
    store.promote_model("late", "production", 2)
    until(lambda: served.version.version == 2)
    assert served.score(7).prediction == alone(models[1], 7)
    assert served.model.to_bytes() == models[1].to_bytes()
    assert (served.state.swaps, served.state.refused) == (1, None)
    scores = served.score_many([1, 2, -1])
    assert (scores.versions, scores.status) == ([2, 2, 2], ["fresh", "fresh", "missing"])
    counters = served.counters
    assert (counters["keys"], counters["missing"], counters["inputs"]["carrier"]) == (4, 1, {"absent": 1, "unseen": 0})
    iris = cenote.load(DEMO.parent / "zoo" / "gbm_multinomial_iris" / "model.zip")
    store.promote_model("late", "production", store.register_model("late", iris).version)
    until(lambda: served.state.refused is not None)
    assert served.score(7).version == 2


def test_request(store: cenote.FeatureStore, view: cenote.View, models: list[cenote.Model]) -> None:
    store.promote_model("late", "request", 1)
    served = store.watch_model("late@request", view, absent=ABSENT[1:], request=["origin"])
    expected = models[0].predict({"carrier": "UA", "distance": 300.0, "hour": 3, "origin": "EWR"})
    assert served.score(3, {"origin": "EWR"}).prediction == expected
    assert served.score_many([3], [{"origin": "EWR"}]).to_dicts() == [expected]


def test_canary_and_shadow(store: cenote.FeatureStore, view: cenote.View, models: list[cenote.Model]) -> None:
    store.route_model("late", "trial", 1, canary=2, share=0.3, shadow=3)
    assert store.find_route("late", "trial") == {"version": 1, "canary": 2, "share": 0.3, "shadow": 3}
    served = store.watch_model("late@trial", view, absent=ABSENT)
    versions = [served.score(flight).version for flight in range(100)]
    assert 10 < versions.count(2) < 55
    scores = served.score_many(range(100))
    assert scores.versions == versions
    for flight, row in enumerate(scores.to_dicts()):
        assert row == alone(models[(versions[flight] or 0) - 1], flight)
    shadow = served.shadow
    assert shadow is not None
    assert (shadow["scored"], shadow["failed"], shadow["numbers"]) == (200, 0, 200)
    with pytest.raises(ValueError, match="share"):
        store.route_model("late", "trial", 1, canary=2)


def score_in_child(served: cenote.ServedModel, queue: Any) -> None:
    end = time.monotonic() + 20
    while served.score(5).version != 2 and time.monotonic() < end:
        time.sleep(0.05)
    queue.put(served.score(5).version)


def test_fork(dsn: str, store: cenote.FeatureStore, view: cenote.View, models: list[cenote.Model]) -> None:
    store.promote_model("late", "forked", 1)
    served = store.watch_model("late@forked", view, absent=ABSENT)
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    child = fork.Process(target=score_in_child, args=(served, queue))
    child.start()
    store.promote_model("late", "forked", 2)
    assert queue.get(timeout=30) == 2, "a child watches on its own"
    child.join(timeout=10)
    assert child.exitcode == 0


def test_stages_and_signatures(store: cenote.FeatureStore, models: list[cenote.Model], tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    public = tmp_path / "public.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)
    signed = store.register_model("signed", models[0], signing_key=key.read_text())
    assert store.verify_model("signed", trusted_keys=[public.read_text()]).signed_by == signed.signed_by
    assert signed.signed_by is not None
    store.register_model("signed", models[1])
    with pytest.raises(cenote.StoreError, match="not signed"):
        store.verify_model("signed:2", trusted_keys=[signed.signed_by])
    store.set_model_stage("signed", 2, "archived")
    assert store.find_model("signed:2").stage == "archived"
    with pytest.raises(cenote.StoreError, match="archived"):
        store.promote_model("signed", "production", 2)
    with pytest.raises(cenote.InputError):
        store.set_model_stage("signed", 2, "unknown")  # type: ignore[arg-type]
    with pytest.raises(cenote.StoreError, match="metrics"):
        store.register_model("signed", models[0], metrics={"auc": 1.0})


def test_decisions(store: cenote.FeatureStore, view: cenote.View, models: list[cenote.Model]) -> None:
    store.apply_decisions()
    version = store.find_model("late:1")
    plan = store.plan(models[0], view, absent=ABSENT, version=version)
    score = plan.score(9)
    id = store.record(view, 9, score)
    store.upsert(view, [{"flight": 9, "carrier": "AA", "distance": 1.0, "hour": 1, "event_ts": datetime.now(timezone.utc)}])
    assert plan.score(9).prediction != score.prediction
    replay = store.replay(id)
    assert replay.identical
    assert {"predict": replay.label, **dict(zip(["No", "Yes"], replay.numbers, strict=True))} == score.prediction
    assert (replay.features["carrier"], replay.features["distance"], replay.features["temp"]) == ("UA", 900.0, None)
    decision = store.find_decision(id)
    assert (decision.key, decision.version, decision.sha256, decision.status) == ([9], 1, version.sha256, "fresh")
    with pytest.raises(cenote.StoreError):
        store.find_decision("01900000-0000-7000-8000-000000000000")
    with pytest.raises(cenote.InputError):
        store.record(view, 9, store.plan(models[0], view, absent=ABSENT).score(9))


def record_in_child(buffer: cenote.DecisionBuffer, view: cenote.View, score: cenote.Score, told: Any) -> None:
    id = buffer.record(view, 5, score)
    buffer.flush()
    told.put((id, buffer.counters))


def test_buffered_decisions(
    dsn: str, store: cenote.FeatureStore, view: cenote.View, models: list[cenote.Model]
) -> None:
    store.apply_decisions()
    plan = store.plan(models[0], view, absent=ABSENT, version=store.find_model("late:1"))
    score = plan.score(5)
    with store.buffered_decisions(capacity=4) as buffer:
        ids = [buffer.record(view, 5, score) for _ in range(4)]
        buffer.flush()
        assert [store.find_decision(id or "").key for id in ids] == [[5]] * 4
        assert store.replay(ids[0] or "").identical
        with psycopg.connect(dsn) as lock:
            lock.execute("LOCK TABLE cenote.cenote_decisions IN ACCESS EXCLUSIVE MODE")
            # One or a few are taken out of the queue, and then it is full.
            ids = [buffer.record(view, 5, score) for _ in range(200)]
            assert ids.count(None) > 150
            with pytest.raises(cenote.StoreTimeoutError, match="decision log"):
                buffer.flush(timeout=0.2)
        buffer.flush()
        counters = buffer.counters
        assert (counters["pushed"], counters["dropped"]) == (204, ids.count(None))
        assert counters["written"] == counters["pushed"] - counters["dropped"]
        context = multiprocessing.get_context("fork")
        told: Any = context.Queue()
        child = context.Process(target=record_in_child, args=(buffer, view, score, told))
        child.start()
        id, in_child = told.get(timeout=30)
        child.join()
        assert store.find_decision(id).key == [5]
        assert (in_child["pushed"], in_child["written"]) == (1, 1)
        last = buffer.record(view, 5, score)
        with pytest.raises(cenote.InputError):
            buffer.record(view, 5, store.plan(models[0], view, absent=ABSENT).score(5))
    assert store.find_decision(last or "").version == 1


def test_parity_and_explain(store: cenote.FeatureStore, view: cenote.View, models: list[cenote.Model]) -> None:
    parity = store.parity(view, sample=1000)
    assert (parity["checked"], parity["differing"], parity["differences"]) == (100, 0, [])
    explained = store.plan(models[0], view, absent=ABSENT).explain()
    assert '"flight" = $1' in explained.sql
    assert ("carrier", 'feature "carrier"') in explained.inputs
    assert not [warning for warning in explained.warnings if "index" in warning]


def test_asyncio(dsn: str, view: cenote.View, store: cenote.FeatureStore, models: list[cenote.Model]) -> None:
    store.promote_model("late", "async", 1)
    store.apply_decisions()

    async def main() -> None:
        async with await cenote.AsyncFeatureStore.connect(dsn, connections=2) as async_store:
            served = await async_store.watch_model("late@async", view, absent=ABSENT)
            assert served.version.version == 1
            score = await served.score(8)
            assert score.prediction == alone(models[0], 8)
            assert (await served.score_many([8])).versions == [1]
            replay = await async_store.replay(await async_store.record(view, 8, score))
            assert replay.identical

    asyncio.run(main())


def test_asyncio_scores_need_no_thread(
    dsn: str, view: cenote.View, store: cenote.FeatureStore, models: list[cenote.Model], monkeypatch: pytest.MonkeyPatch,
) -> None:
    store.promote_model("late", "request", 1)
    row = {"carrier": "UA", "distance": 700.0, "hour": 22}

    async def main() -> None:
        async with await cenote.AsyncFeatureStore.connect(dsn, connections=2) as async_store:
            request, absent = ["hour"], ABSENT
            served = await async_store.watch_model("late@request", view, request=request, absent=absent)
            plan = await async_store.plan(models[0], view, request=request, absent=absent)
            with monkeypatch.context() as without:
                # The threads are asked by ``run``; scores are not to.
                without.setattr(async_store._threads, "run", None)
                for scores in served, plan:
                    at_once = await asyncio.gather(*(scores.score(7, {"hour": hour}) for hour in (22, None)))
                    assert [score.prediction for score in at_once] == [models[0].predict(row), models[0].predict({**row, "hour": None})]
                    with pytest.raises(cenote.CenoteError, match="hour"):
                        await scores.score(7)
                    with pytest.raises(cenote.CenoteError, match="hour"):
                        await scores.score(7, {"hour": object()})
                    assert (await scores.score(-1, {"hour": 3})).status == "missing"

    asyncio.run(main())


def test_cache(dsn: str, store: cenote.FeatureStore, view: cenote.View) -> None:
    store.notify_changes(view)
    with cenote.FeatureStore.connect(dsn, cache_ttl=30.0) as near:
        def hits() -> bool:
            before = near.cache_counters["hits"]
            near.get(view, 50)
            return near.cache_counters["hits"] > before
        until(hits)
        store.upsert(view, [{"flight": 50, "carrier": "B6", "distance": 1.5, "hour": 2, "event_ts": datetime.now(timezone.utc)}])
        until(lambda: near.get(view, 50)["distance"] == 1.5)
    assert store.cache_counters["hits"] == 0
