"""GraphQL over the feature store: any number of entities in one query, whose features a DataLoader fetches by one SQL query.

The loader lives for one request, so that nobody is answered from another's; depth, aliases and tokens are bounded.
"""

from __future__ import annotations

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
from .routes import parsed, scored


@strawberry.type
class Entity:
    key: str

    @strawberry.field
    async def features(self, info: Info[dict[str, Any], None]) -> JSON | None:
        return await info.context["features"].load(self.key)

    @strawberry.field
    async def prediction(self, info: Info[dict[str, Any], None]) -> JSON | None:
        row = await info.context["features"].load(self.key)
        return None if row is None else (await scored(info.context["request"], [row], self.key))[0][0]


@strawberry.type
class Query:
    @strawberry.field
    def entities(self, keys: list[str]) -> list[Entity]:
        if len(keys) > 1_000:
            raise ValueError("at most 1000 keys a query")
        return [Entity(key=key) for key in keys]


async def context(request: Request, caller: Reader) -> dict[str, Any]:
    features = request.app.state.features
    if features is None:
        raise HTTPException(404, "this service has no feature store")

    async def load(keys: list[str]) -> list[dict[str, Any] | None]:
        wanted = [
            tuple(parsed(kind, part) for (_, kind), part in zip(features.view.keys, key.split(","), strict=True)) for key in keys
        ]
        return await features.get(wanted)

    return {"features": DataLoader(load_fn=load, max_batch_size=1_000), "caller": caller}


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
