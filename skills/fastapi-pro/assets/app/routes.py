"""The routes for rows and entities, for the model's swap, for health and metrics. The V2 inference protocol is in `protocol.py`."""

from __future__ import annotations

import math
from typing import Annotated, Any

import cenote
from fastapi import APIRouter, HTTPException, Path, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from .auth import Admin, Reader
from .limits import Limited
from .schemas import EntitiesRequest, EntitiesResponse, EntityResponse, ModelInfo, ScoreRequest, ScoreResponse, SwapRequest
from .scoring import Loaded, ModelRefused
from .sources import Files
from .store import UNAVAILABLE, Key, KeyRefused, Store

scoring = APIRouter(prefix="/v1", tags=["scoring"], dependencies=[Limited])
admin = APIRouter(prefix="/admin", tags=["administration"])
health = APIRouter(tags=["health"], include_in_schema=False)


def finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: a missing prediction is null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


async def scored(request: Request, rows: list[dict[str, Any]], entity: str = "") -> tuple[list[dict[str, Any]], Loaded]:
    if len(rows) > request.app.state.settings.max_rows:
        raise HTTPException(413, f"at most {request.app.state.settings.max_rows} rows a request")
    try:
        predictions, model = await request.app.state.models.score(rows, entity)
    except (ValueError, TypeError) as error:  # cenote's input errors: they name the column and the row
        raise HTTPException(422, str(error)) from None
    return [finite(p) for p in predictions], model


def store_and_keys(request: Request, texts: list[str]) -> tuple[Store, list[Key]]:
    store: Store | None = request.app.state.store
    if store is None:
        raise HTTPException(404, "this service has no feature store")
    try:
        return store, [store.key(text) for text in texts]
    except KeyRefused as error:
        raise HTTPException(422, str(error)) from None


def unavailable() -> HTTPException:
    return HTTPException(503, "the feature store does not answer", {"Retry-After": "1"})


@scoring.post("/score")
async def score(request: Request, body: ScoreRequest, caller: Reader) -> ScoreResponse:
    """Score rows given whole."""
    predictions, model = await scored(request, body.rows, caller.subject)
    return ScoreResponse(model=model.digest, predictions=predictions)


@scoring.get("/entities/{key}/score")
async def score_entity(request: Request, key: Annotated[str, Path(max_length=512)], caller: Reader) -> EntityResponse:
    """Fetch an entity's features and score them, or answer from the cache. The parts of a composite key are joined by commas."""
    store, (wanted,) = store_and_keys(request, [key])
    _, model = request.app.state.models.slots.choose(key)

    async def load() -> dict[str, Any] | None:
        found = await store.score(model.by_key, wanted)
        return None if found is None else {**found, "prediction": finite(found["prediction"])}

    try:
        answer = await request.app.state.cache.get(f"score:{model.answers}:{store.view.name}:{store.view.version}:{key}", load)
        if answer is not None and answer["version"] not in model.versions:
            answer = await load()  # the alias moved while that answer was made: it is not this route's
    except cenote.InputError as error:  # the model refuses this row, as H2O does
        raise HTTPException(422, str(error)) from None
    except UNAVAILABLE:
        raise unavailable() from None
    if answer is None:
        raise HTTPException(404, "no features of this entity")
    return EntityResponse(key=key.split(","), **{**answer, "version": model.named(answer["version"])})


@scoring.post("/entities/score")
async def score_entities(request: Request, body: EntitiesRequest, caller: Reader) -> EntitiesResponse:
    """Fetch and score many entities by one query."""
    if len(body.keys) > request.app.state.settings.max_rows:
        raise HTTPException(413, f"at most {request.app.state.settings.max_rows} keys a request")
    store, keys = store_and_keys(request, body.keys)
    model = request.app.state.models.slots.active
    try:
        found = await store.score_many(model.by_key, keys)
    except UNAVAILABLE:
        raise unavailable() from None
    scores = [
        None if one is None else {**one, "version": model.named(one["version"]), "prediction": finite(one["prediction"])}
        for one in found
    ]
    return EntitiesResponse(scores=scores)


@admin.get("/model")
async def model(request: Request, caller: Admin) -> ModelInfo:
    return shown(request)


@admin.post("/model")
async def swap(request: Request, body: SwapRequest, caller: Admin) -> ModelInfo:
    """Load the model's file anew; it must have the digest given. On any failure the old model goes on serving."""
    source = request.app.state.source
    if not isinstance(source, Files):
        raise HTTPException(409, "the registry decides what serves: promote there")
    try:
        await source.swap(body.sha256, body.canary_share)
    except (ModelRefused, OSError, ValueError, *UNAVAILABLE) as error:
        raise HTTPException(409, f"the old model goes on serving: {error}") from None
    return shown(request)


def shown(request: Request) -> ModelInfo:
    active = request.app.state.models.slots.active
    return ModelInfo(active=active.digest, version=active.version, **request.app.state.source.show())


@health.get("/health/live")
async def live() -> dict[str, str]:
    """Whether the process answers. It asks nobody: a dead database must not restart every pod."""
    return {"status": "live"}


@health.get("/health/ready")
async def ready(request: Request, response: Response) -> dict[str, Any]:
    """Whether requests should be sent here."""
    checks = await readiness(request)
    good = not checks["draining"] and checks.get("store", True)
    response.status_code = 200 if good else 503
    return {"status": "ready" if good else "not ready", **checks}


async def readiness(request: Request) -> dict[str, bool]:
    state = request.app.state
    checks = {"draining": bool(state.draining)}
    if state.store is not None:
        try:
            checks["store"] = await state.store.ready()
        except UNAVAILABLE:
            checks["store"] = False
    return checks


@health.get("/metrics")
def metrics(request: Request) -> Response:  # in a thread: the process's own figures are read from files
    request.app.state.source.show()
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
