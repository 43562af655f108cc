"""The application: settings in, a FastAPI out. What it holds is made in the lifespan and closed there, in the opposite order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
from fastapi import FastAPI, Request, Response
from redis.asyncio import Redis

from .cache import Cache
from .features import Features, View
from .graph import graph
from .limits import Limiter
from .routes import admin, health, inference, scoring
from .scoring import Models, Scorer, Slots, load
from .settings import Settings
from .telemetry import REQUEST, instrument


def open_by_cenote(data: bytes) -> Scorer:
    import cenote

    # skill: ignore[SEC018] scoring.load has compared the digest of these bytes
    return cenote.load(data)


def create_app(settings: Settings | None = None, open_model: Callable[[bytes], Scorer] = open_by_cenote) -> FastAPI:
    settings = settings or Settings()  # type: ignore[call-arg]
    app = FastAPI(title="Scoring API", version="1.0.0", lifespan=lifespan)
    app.state.settings, app.state.draining = settings, True

    def open_slots(sha256: str | None, canary_share: float) -> Slots:
        active = load(settings.model_path, sha256, open_model)
        canary = load(settings.canary_path, settings.canary_sha256, open_model) if settings.canary_path else None
        return Slots(active, canary, canary_share if canary else 0.0)

    app.state.open_slots = open_slots
    for router in (scoring, inference, admin, health):
        app.include_router(router)
    app.include_router(graph, prefix="/graphql")
    app.middleware("http")(timed)
    instrument(app)
    return app


async def timed(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    start = time.perf_counter()
    response = await call_next(request)
    route = getattr(request.scope.get("route"), "path", "unknown")
    REQUEST.labels(route, str(response.status_code)).observe(time.perf_counter() - start)
    return response


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    async with AsyncExitStack() as stack:
        slots = await asyncio.to_thread(app.state.open_slots, settings.model_sha256, settings.canary_share)
        app.state.models = Models(slots)
        stack.callback(app.state.models.close)
        app.state.features = None
        if settings.dsn and settings.view_path:
            pool = await stack.enter_async_context(
                asyncpg.create_pool(
                    settings.dsn,
                    min_size=1,
                    max_size=settings.database_connections,
                    command_timeout=settings.database_timeout,
                    timeout=5,
                )
            )
            view = await asyncio.to_thread(View.read, settings.view_path)
            app.state.features = Features(pool, view, settings.store_schema, timeout=settings.database_timeout)
        url = str(settings.redis_url) if settings.redis_url else None
        redis = None
        if url:
            redis = Redis.from_url(url, socket_timeout=settings.redis_timeout, socket_connect_timeout=settings.redis_timeout)
            stack.push_async_callback(redis.aclose)
        app.state.cache = Cache(redis, seconds=settings.cache_seconds, timeout=settings.redis_timeout)
        app.state.limiter = Limiter(settings.rate_limit, url, timeout=settings.redis_timeout)
        app.state.draining = False
        yield
        app.state.draining = True
        await asyncio.sleep(settings.drain_seconds)
