"""The V2 inference protocol, as KServe and Triton speak it: one tensor a column, shape [n] or [n, 1]; errors are {"error": text}."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from .auth import Reader
from .limits import Limited
from .routes import readiness, scored
from .schemas import Cell, InferRequest, InferResponse, Tensor

inference = APIRouter(prefix="/v2", tags=["V2 inference protocol"])


async def as_error(request: Request, failure: HTTPException) -> Response:
    """The protocol's form of an error on its own routes, FastAPI's elsewhere."""
    name = "error" if request.url.path.startswith("/v2/") else "detail"
    return JSONResponse({name: failure.detail}, failure.status_code, failure.headers)


@inference.get("/health/live")
async def live() -> dict[str, bool]:
    return {"live": True}


@inference.get("/health/ready")
async def ready(request: Request, response: Response) -> dict[str, bool]:
    checks = await readiness(request)
    good = not checks["draining"] and checks.get("store", True)
    response.status_code = 200 if good else 503
    return {"ready": good}


@inference.get("")
async def server(request: Request) -> dict[str, Any]:
    return {"name": request.app.title, "version": request.app.version, "extensions": []}


@inference.get("/models/{name}/ready")
async def model_ready(request: Request, name: str) -> dict[str, Any]:
    known(request, name)
    return {"name": name, "ready": True}


@inference.get("/models/{name}")
async def model_metadata(request: Request, name: str, caller: Reader) -> dict[str, Any]:
    """What the model reads and answers, as tensors of -1 rows."""
    known(request, name)
    model = request.app.state.models.slots.active
    kinds = getattr(model.scorer, "feature_types", {})
    inputs = [{"name": n, "datatype": "FP64" if k == "numeric" else "BYTES", "shape": [-1]} for n, k in kinds.items()]
    label = "BYTES" if len(getattr(model.scorer, "output_names", [])) > 1 else "FP64"
    outputs = [
        {"name": n, "datatype": label if n == "predict" else "FP64", "shape": [-1]}
        for n in getattr(model.scorer, "output_names", ["predict"])
    ]
    return {
        "name": name,
        "versions": [model.version],
        "platform": "h2o_mojo",
        "inputs": inputs,
        "outputs": outputs,
    }


@inference.post("/models/{name}/infer", dependencies=[Limited])
async def infer(request: Request, name: str, body: InferRequest, caller: Reader) -> InferResponse:
    """Score columns."""
    known(request, name)
    columns = {t.name: cells(t) for t in body.inputs}
    lengths = {len(data) for data in columns.values()}
    if len(columns) != len(body.inputs):
        raise HTTPException(422, "two tensors have one name")
    if len(lengths) != 1 or any(t.shape[0] != len(columns[t.name]) or t.shape[1:] not in ([], [1]) for t in body.inputs):
        raise HTTPException(422, "all tensors have shape [n] or [n, 1] with the same n")
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    predictions, model = await scored(request, rows, caller.subject)
    wanted = [str(o.get("name")) for o in body.outputs] if body.outputs else list(predictions[0]) if predictions else []
    if predictions and (unknown := set(wanted) - set(predictions[0])):
        raise HTTPException(422, f"no output is named {', '.join(sorted(unknown))}")
    outputs = [tensor(column, [p[column] for p in predictions]) for column in wanted]
    return InferResponse(model_name=name, model_version=model.version, id=body.id, outputs=outputs)


def known(request: Request, name: str) -> None:
    if name != request.app.state.settings.model_name:
        raise HTTPException(404, f"no model is named {name[:100]}; there is {request.app.state.settings.model_name}")


def cells(tensor: Tensor) -> list[Cell]:
    """The tensor's values, flat. Raises 422 where they are not of its datatype; null is a missing value in any."""
    flat = [c[0] if isinstance(c, list) and c else c for c in tensor.data]
    kinds = {"BYTES": str, "BOOL": bool}.get(tensor.datatype, (int, float) if tensor.datatype.startswith("FP") else int)
    if any(c is not None and (not isinstance(c, kinds) or (isinstance(c, bool) and tensor.datatype != "BOOL")) for c in flat):
        raise HTTPException(422, f"{tensor.name} has a value that is not {tensor.datatype}")
    return flat  # type: ignore[return-value]


def tensor(name: str, data: list[Any]) -> Tensor:
    number = all(v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in data)
    return Tensor(name=name, shape=[len(data)], datatype="FP64" if number else "BYTES", data=data)
