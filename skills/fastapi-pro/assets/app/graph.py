"""GraphQL over the feature store: any number of entities in one query, whose features, scores and documents are fetched by one SQL
query each.

The loaders live for one request, so that nobody is answered from another's; depth, aliases and tokens are bounded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import strawberry
from fastapi import HTTPException, Request
from strawberry.dataloader import DataLoader
from strawberry.extensions import MaxAliasesLimiter, MaxTokensLimiter, QueryDepthLimiter
from strawberry.fastapi import GraphQLRouter
from strawberry.scalars import JSON
from strawberry.types import Info

from .auth import Reader
from .limits import Limited
from .raw import FAILURES, Raw
from .routes import finite, store_and_keys
from .store import UNAVAILABLE

MOST = 1_000


@strawberry.type
class Entity:
    key: str

    @strawberry.field
    async def features(self, info: Info[dict[str, Any], None]) -> JSON | None:
        return await info.context["features"].load(self.key)

    @strawberry.field
    async def prediction(self, info: Info[dict[str, Any], None]) -> JSON | None:
        return await info.context["predictions"].load(self.key)

    @strawberry.field
    async def raw(self, info: Info[dict[str, Any], None]) -> JSON:
        """The entity's documents in the raw store, the newest first; at most ten."""
        return await info.context["raw"].load(self.key)


@strawberry.type
class Query:
    @strawberry.field
    async def entities(self, info: Info[dict[str, Any], None], keys: list[str]) -> list[Entity]:
        if len(keys) > MOST:
            raise ValueError(f"at most {MOST} keys a query")
        store_and_keys(info.context["request"], keys)
        return [Entity(key=key) for key in keys]


async def context(request: Request, caller: Reader) -> dict[str, Any]:
    state = request.app.state

    async def features(texts: list[str]) -> list[Any]:
        store, keys = store_and_keys(request, texts)
        return await store.features(keys)

    async def predictions(texts: list[str]) -> list[Any]:
        store, keys = store_and_keys(request, texts)
        models = [state.models.slots.choose(text)[1] for text in texts]
        out: list[Any] = [None] * len(texts)
        for model in {id(m): m for m in models}.values():
            places = [i for i, one in enumerate(models) if one is model]
            found = await store.score_many(model.by_key, [keys[i] for i in places])
            for i, one in zip(places, found, strict=True):
                out[i] = None if one is None else finite(one["prediction"])
        return out

    async def raw(texts: list[str]) -> list[Any]:
        if state.raw is None:
            raise HTTPException(404, "this service has no raw store")
        documents: Raw = state.raw
        return await documents.get(texts)

    loaders = {"features": features, "predictions": predictions, "raw": raw}
    return {
        "request": request,
        **{name: DataLoader(load_fn=shielded(load), max_batch_size=MOST) for name, load in loaders.items()},
    }


def shielded(load: Callable[[list[str]], Awaitable[list[Any]]]) -> Callable[[list[str]], Awaitable[list[Any]]]:
    """A failing store is said in one sentence, not by a driver's text."""

    async def guarded(texts: list[str]) -> list[Any]:
        try:
            return await load(texts)
        except HTTPException as refusal:
            raise ValueError(refusal.detail) from None
        except (*UNAVAILABLE, *FAILURES):
            raise ValueError("the store does not answer") from None

    return guarded


schema = strawberry.Schema(
    Query,
    extensions=[
        lambda: QueryDepthLimiter(max_depth=5),
        lambda: MaxAliasesLimiter(max_alias_count=15),
        lambda: MaxTokensLimiter(max_token_count=4_000),
    ],
)
graph: GraphQLRouter[dict[str, Any], None] = GraphQLRouter(
    schema, context_getter=context, graphql_ide=None, dependencies=[Limited]
)
