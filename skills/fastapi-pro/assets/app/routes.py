"""The routes: score rows, score entities by key, the V2 inference protocol, the model's swap, health and metrics."""

from __future__ import annotations

import math
from typing import Annotated, Any

import asyncpg
from fastapi import APIRouter, HTTPException, Path, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from .auth import Admin, Reader
from .breaker import CircuitOpen
from .limits import Limited
from .schemas import EntityResponse, InferRequest, InferResponse, ModelInfo, ScoreRequest, ScoreResponse, SwapRequest, Tensor
from .scoring import ModelRefused, Slots

scoring = APIRouter(prefix="/v1", tags=["scoring"], dependencies=[Limited])
inference = APIRouter(prefix="/v2", tags=["V2 inference protocol"])
admin = APIRouter(prefix="/admin", tags=["administration"])
health = APIRouter(tags=["health"], include_in_schema=False)


def finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: a missing prediction is null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


async def scored(request: Request, rows: list[dict[str, Any]], entity: str = "") -> tuple[list[dict[str, Any]], str]:
    if len(rows) > request.app.state.settings.max_rows:
        raise HTTPException(413, f"at most {request.app.state.settings.max_rows} rows a request")
    try:
        predictions, digest = await request.app.state.models.score(rows, entity)
    except (ValueError, TypeError) as error:  # cenote's input errors: they name the column and the row
        raise HTTPException(422, str(error)) from None
    return [finite(p) for p in predictions], digest


@scoring.post("/score")
async def score(request: Request, body: ScoreRequest, caller: Reader) -> ScoreResponse:
    """Score rows given whole."""
    predictions, digest = await scored(request, body.rows, caller.subject)
    return ScoreResponse(model=digest, predictions=predictions)


@scoring.get("/entities/{key}/score")
async def score_entity(request: Request, key: Annotated[str, Path(max_length=512)], caller: Reader) -> EntityResponse:
    """Fetch an entity's features and score them. The parts of a composite key are joined by commas."""
    state = request.app.state
    if state.features is None:
        raise HTTPException(404, "this service has no feature store")
    parts = key.split(",")
    wanted = tuple(parsed(kind, part) for (_, kind), part in zip(state.features.view.keys, parts, strict=False))
    if len(parts) != len(state.features.view.keys) or None in wanted:
        raise HTTPException(422, f"the key is {', '.join(f'{name} ({kind})' for name, kind in state.features.view.keys)}")

    async def load() -> dict[str, Any] | None:
        found = (await state.features.get([wanted]))[0]
        return None if found is None else (await scored(request, [found], key))[0][0]

    view, (_, model) = state.features.view, state.models.slots.choose(key)
    try:
        prediction = await state.cache.get(f"score:{model.digest}:{view.name}:{view.version}:{key}", load)
    except (CircuitOpen, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        raise HTTPException(503, "the feature store does not answer", {"Retry-After": "1"}) from None
    if prediction is None:
        raise HTTPException(404, "no fresh features of this entity")
    return EntityResponse(model=model.digest, key=parts, prediction=prediction)


def parsed(kind: str, text: str) -> Any:
    try:
        return int(text) if kind in ("i16", "i32", "i64") else text == "true" if kind == "bool" else text
    except ValueError:
        return None


@inference.post("/models/{name}/infer", dependencies=[Limited])
async def infer(request: Request, name: str, body: InferRequest, caller: Reader) -> InferResponse:
    """Score columns, as the V2 inference protocol (KServe, Triton) has it: one tensor a column."""
    lengths = {len(t.data) for t in body.inputs}
    if len(lengths) != 1 or any(t.shape[0] != len(t.data) or t.shape[1:] not in ([], [1]) for t in body.inputs):
        raise HTTPException(422, "all tensors have shape [n] or [n, 1] with the same n")
    rows = [
        dict(zip([t.name for t in body.inputs], cells, strict=True)) for cells in zip(*(t.data for t in body.inputs), strict=True)
    ]
    predictions, digest = await scored(request, rows, caller.subject)
    names = list(predictions[0]) if predictions else []
    outputs = []
    for column in names:
        data = [p[column] for p in predictions]
        kind = "FP64" if all(v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in data) else "BYTES"
        outputs.append(Tensor(name=column, shape=[len(data)], datatype=kind, data=data))
    return InferResponse(model_name=name, model_version=digest[:12], id=body.id, outputs=outputs)


@inference.get("/health/live")
def v2_live() -> dict[str, bool]:
    return {"live": True}


@admin.get("/model")
def model(request: Request, _: Admin) -> ModelInfo:
    return shown(request.app.state.models.slots)


@admin.post("/model")
async def swap(request: Request, body: SwapRequest, _: Admin) -> ModelInfo:
    """Load the model files anew; they must have the digest given. On any failure the old model goes on serving."""
    state = request.app.state
    try:
        slots = await state.models.swap(lambda: state.open_slots(body.sha256, body.canary_share))
    except (ModelRefused, OSError, ValueError) as error:
        raise HTTPException(409, f"the old model goes on serving: {error}") from None
    return shown(slots)


def shown(slots: Slots) -> ModelInfo:
    return ModelInfo(
        active=slots.active.digest, canary=slots.canary.digest if slots.canary else None, canary_share=slots.canary_share
    )


@health.get("/health/live")
def live() -> dict[str, str]:
    """Whether the process answers. It asks nobody: a dead database must not restart every pod."""
    return {"status": "live"}


@health.get("/health/ready")
async def ready(request: Request, response: Response) -> dict[str, Any]:
    """Whether requests should be sent here."""
    state = request.app.state
    checks = {"draining": state.draining}
    if state.features is not None:
        try:
            checks["features"] = await state.features.ready()
        except (CircuitOpen, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            checks["features"] = False
    good = not state.draining and checks.get("features", True)
    response.status_code = 200 if good else 503
    return {"status": "ready" if good else "not ready", **checks}


@health.get("/metrics")
def metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
