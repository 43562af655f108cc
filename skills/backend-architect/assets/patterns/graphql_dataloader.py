"""GraphQL without N+1: a list of customers with the orders of each costs two queries, however many customers there are.

The loader is made in the context of one request: it batches what one tick asks for, and nobody is answered from another's cache.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import strawberry
from strawberry.dataloader import DataLoader
from strawberry.extensions import MaxAliasesLimiter, QueryDepthLimiter
from strawberry.types import Info

Fetch = Callable[[list[int]], Awaitable[dict[int, list[float]]]]


@strawberry.type
class Customer:
    id: int

    @strawberry.field
    async def orders(self, info: Info[dict[str, Any], None]) -> list[float]:
        return await info.context["orders"].load(self.id)


@strawberry.type
class Query:
    @strawberry.field
    def customers(self, ids: list[int]) -> list[Customer]:
        return [Customer(id=i) for i in ids[:1_000]]


def context(fetch: Fetch) -> dict[str, Any]:
    """The context of one request. `fetch` takes all ids of a batch and answers by id; an id without rows may be left out."""

    async def load(ids: list[int]) -> list[list[float]]:
        found = await fetch(ids)
        return [found.get(i, []) for i in ids]

    return {"orders": DataLoader(load_fn=load, max_batch_size=500)}


schema = strawberry.Schema(
    Query, extensions=[lambda: QueryDepthLimiter(max_depth=5), lambda: MaxAliasesLimiter(max_alias_count=10)]
)
