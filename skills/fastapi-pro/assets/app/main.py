"""The application: settings in, a FastAPI out. What it holds is made in the lifespan and closed there, in the opposite order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import cenote
from fastapi import FastAPI, HTTPException
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExporter
from redis.asyncio import Redis

from .auth import Verifier
from .cache import Cache
from .graph import graph
from .limits import Limiter
from .protocol import as_error, inference
from .raw import Raw
from .routes import admin, health, scoring
from .scoring import Models
from .settings import Settings
from .sources import Files, Open, Registry, open_by_cenote
from .store import Store
from .telemetry import Timed, tracer, tracing


def create_app(
    settings: Settings | None = None, open_model: Open = open_by_cenote, exporter: SpanExporter | None = None
) -> FastAPI:
    """The service. `exporter` receives the spans; by default the OTLP endpoint of the settings, if there is one."""
    settings = settings or Settings()
    app = FastAPI(title="Scoring API", version="1.0.0", lifespan=lifespan)
    app.state.settings, app.state.open_model, app.state.draining = settings, open_model, True
    for router in (scoring, inference, admin, health):
        app.include_router(router)
    app.include_router(graph, prefix="/graphql")
    app.add_exception_handler(HTTPException, as_error)  # type: ignore[arg-type]
    app.add_middleware(Timed, max_body_bytes=settings.max_body_bytes)
    if exporter is None and settings.otlp_endpoint:
        exporter = OTLPSpanExporter(endpoint=f"{str(settings.otlp_endpoint).rstrip('/')}/v1/traces", timeout=2)
    app.state.provider = tracing(app, exporter) if exporter else None
    return app


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    state, settings = app.state, app.state.settings
    async with AsyncExitStack() as stack:
        if state.provider is not None:
            stack.push_async_callback(asyncio.to_thread, state.provider.shutdown)
        state.verifier = Verifier(settings)
        await databases(app, settings, stack)
        await models(app, settings, stack)
        url = str(settings.redis_url) if settings.redis_url else None
        redis = None
        if url:
            redis = Redis.from_url(url, socket_timeout=settings.redis_timeout, socket_connect_timeout=settings.redis_timeout)
            stack.push_async_callback(redis.aclose)
        state.cache = Cache(redis, seconds=settings.cache_seconds, timeout=settings.redis_timeout)
        state.limiter = Limiter(settings.rate_limit, url, timeout=settings.redis_timeout)
        state.draining = False
        yield
        state.draining = True


async def databases(app: FastAPI, settings: Settings, stack: AsyncExitStack) -> None:
    state = app.state
    state.store = state.raw = None
    if settings.dsn is None:
        return
    timeout = settings.database_timeout
    feature_store = await asyncio.to_thread(
        cenote.FeatureStore.connect, settings.dsn, schema=settings.store_schema, read_timeout=timeout
    )
    stack.callback(feature_store.close)
    if settings.view_path:
        state.store = await Store.open(
            feature_store,
            settings.view_path,
            connections=settings.database_connections,
            timeout=timeout,
            on_stale=settings.on_stale,
            tracer=tracer(state.provider),
        )
        stack.callback(state.store.close)
    if settings.raw_table:
        pool = await stack.enter_async_context(
            asyncpg.create_pool(
                settings.dsn, min_size=1, max_size=settings.database_connections, command_timeout=timeout, timeout=5
            )
        )
        state.raw = Raw(pool, settings.raw_table, timeout=timeout)


async def models(app: FastAPI, settings: Settings, stack: AsyncExitStack) -> None:
    state = app.state
    state.source = Registry(settings, state.store) if settings.model else Files(settings, state.open_model, state.store)
    await state.source.open()
    state.models = Models(state.source.now, tracer=tracer(state.provider))
    stack.callback(state.models.close)
