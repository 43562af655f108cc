"""What goes in and out of the routes. Unknown fields are refused: a misspelt one would be a missing value."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Cell = bool | int | float | str | None
Name = Annotated[str, Field(min_length=1, max_length=256)]
HARD_LIMIT = 100_000


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, ser_json_inf_nan="null", protected_namespaces=())


class ScoreRequest(Strict):
    rows: Annotated[list[dict[Name, Cell]], Field(min_length=1, max_length=HARD_LIMIT)]


class ScoreResponse(Strict):
    model: str
    predictions: list[dict[str, Any]]


class EntityResponse(Strict):
    """`status` is the row's: fresh, or stale if it is older than the view's time to live. `version` is of the model that answered."""

    version: str
    key: list[str]
    status: Literal["fresh", "stale"]
    prediction: dict[str, Any]


class EntitiesRequest(Strict):
    keys: Annotated[list[Annotated[str, Field(max_length=512)]], Field(min_length=1, max_length=HARD_LIMIT)]


class EntitiesResponse(Strict):
    """In the order of the keys, each with status, version and prediction; null where the store has no row."""

    scores: list[dict[str, Any] | None]


class SwapRequest(Strict):
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    canary_share: Annotated[float, Field(ge=0, le=1)] = 0.0


class ModelInfo(Strict):
    """`refused` says why the registry's newest change is not served; `shadow` in what the shadow differs."""

    active: str
    version: str
    canary: str | None
    canary_share: float
    swaps: int | None = None
    refused: str | None = None
    shadow: dict[str, Any] | None = None


class Tensor(Strict):
    """A column of the V2 inference protocol: shape [n] or [n, 1], its data flat or nested."""

    name: Name
    shape: Annotated[list[int], Field(min_length=1, max_length=2)]
    datatype: Literal["BOOL", "INT8", "INT16", "INT32", "INT64", "FP32", "FP64", "BYTES"]
    data: Annotated[list[Cell | Annotated[list[Cell], Field(max_length=1)]], Field(max_length=HARD_LIMIT)]
    parameters: dict[str, Any] | None = None


class InferRequest(Strict):
    id: str | None = None
    inputs: Annotated[list[Tensor], Field(min_length=1, max_length=10_000)]
    outputs: Annotated[list[dict[str, Any]], Field(max_length=10_000)] | None = None
    parameters: dict[str, Any] | None = None


class InferResponse(Strict):
    model_name: str
    model_version: str
    id: str | None
    outputs: list[Tensor]
