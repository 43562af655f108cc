"""An HTTP service that scores rows, and keys whose features are in PostgreSQL.

    CENOTE_MODEL=model.zip uvicorn fastapi_service:app
    curl localhost:8000/predict -H 'content-type: application/json' -d '{"rows": [{"carrier": "UA", "distance": 733}]}'

With CENOTE_DATABASE_URL and CENOTE_VIEW (the file of a view's JSON) also:

    curl localhost:8000/score/1001
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel

import cenote


class Rows(BaseModel):
    """Rows to score: cells by column name. A cell that is null or left out is missing."""

    rows: list[dict[str, str | float | bool | None]]


class Service:
    """What is made once, before the first request: the model, and where features come from."""

    def __init__(self) -> None:
        self.model = cenote.load(os.environ["CENOTE_MODEL"])
        self.plan: cenote.ScorePlan | None = None
        if dsn := os.environ.get("CENOTE_DATABASE_URL"):
            view = cenote.View(Path(os.environ["CENOTE_VIEW"]).read_text(encoding="utf-8"))
            # Raises here, and not at the first request, if the view lacks an input of the model.
            self.plan = cenote.FeatureStore.connect(dsn, read_timeout=1.0).plan(self.model, view)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.service = Service()
    yield


app = FastAPI(title="cenote", lifespan=lifespan)


def service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


Used = Annotated[Service, Depends(service)]


# Plain functions, not coroutines: FastAPI runs them on its threads, and cenote releases the GIL while it works.


@app.post("/predict")
def predict(body: Rows, used: Used) -> list[dict[str, Any]]:
    try:
        return used.model.predict(body.rows, missing_columns="na")
    except cenote.InputError as error:
        raise HTTPException(422, str(error)) from error


@app.get("/score/{key}")
def score(key: int, used: Used) -> dict[str, Any]:
    if used.plan is None:
        raise HTTPException(404, "this service has no feature store")
    try:
        found = used.plan.score(key)
    except cenote.StoreTimeoutError as error:
        raise HTTPException(504, str(error)) from error
    except cenote.StoreError as error:
        raise HTTPException(503, str(error)) from error
    return {"status": found.status, "event_ts": found.event_ts, "prediction": found.prediction}


@app.get("/model")
def model(used: Used) -> dict[str, Any]:
    described = used.model
    return {"algo": described.algo, "uuid": described.uuid, "features": described.feature_types,
            "outputs": described.output_names}
