"""What the service tells of itself: Prometheus metrics, and OpenTelemetry traces that an OTLP endpoint receives.

Neither holds a token, a key or a feature's value.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from prometheus_client import Counter, Gauge, Histogram

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
SCORE = Histogram(
    "app_score_seconds", "time of scoring, with the fetch of features where there is one", ["role"], buckets=BUCKETS
)
ROWS = Histogram("app_score_rows", "rows of a request", buckets=(1, 10, 100, 1_000, 10_000))
REQUEST = Histogram("app_request_seconds", "time of a request", ["route", "status"], buckets=BUCKETS)
CACHE = Counter("app_cache_total", "look-ups of the cache", ["outcome"])
LIMITER = Counter("app_limiter_total", "refusals and fallbacks of the rate limiter", ["outcome"])
STORE = Counter("app_store_calls_total", "calls of the feature store, each of which is one query", ["call"])
STATUS = Counter("app_store_rows_total", "rows that the store was asked for", ["status"])
SWAP = Counter("app_swaps_total", "attempts to serve another file's model", ["outcome"])
REFUSED = Gauge("app_registry_refused", "1 while the alias points at a model that was refused")
BREAKER = Gauge("app_breaker_open", "1 while a circuit is open", ["name"])
MODEL = Gauge("app_model_info", "1 for each model that serves", ["role", "digest", "version"])


def breaker_changed(name: str, opened: bool) -> None:
    """What a circuit breaker tells of itself."""
    BREAKER.labels(name).set(opened)


class Timed:
    """ASGI middleware: the time of each request by route and status, and a limit to the bytes of a body."""

    def __init__(self, app: Any, max_body_bytes: int) -> None:
        self._app, self._most = app, max_body_bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        start, status, got = time.perf_counter(), 500, 0

        async def watched(message: Any) -> None:
            nonlocal status
            if got > self._most:
                return  # whatever the application makes of a body that broke off
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        async def counted() -> Any:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > self._most:
                raise TooLarge
            return message

        try:
            with contextlib.suppress(TooLarge):
                await self._app(scope, counted, watched)
            if got > self._most:
                status = 413
                await refuse(send, self._most)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            REQUEST.labels(route, str(status)).observe(time.perf_counter() - start)


class TooLarge(Exception):
    """The body has more bytes than the service takes."""


async def refuse(send: Any, most: int) -> None:
    body = f'{{"detail":"at most {most} bytes a request"}}'.encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def tracing(app: FastAPI, exporter: SpanExporter) -> TracerProvider:
    """Send the spans of requests, of asyncpg and of Redis to `exporter`. The provider is shut down with the application."""
    provider = TracerProvider(resource=Resource({"service.name": app.title}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    FastAPIInstrumentor.instrument_app(
        app, tracer_provider=provider, excluded_urls="health/.*,metrics", exclude_spans=["receive", "send"]
    )
    for library in (AsyncPGInstrumentor(), RedisInstrumentor()):
        if not library.is_instrumented_by_opentelemetry:
            library.instrument(tracer_provider=provider)
    return provider


def tracer(provider: TracerProvider | None) -> trace.Tracer:
    """For spans of the service's own; without a provider they cost next to nothing."""
    return provider.get_tracer("app") if provider else trace.NoOpTracer()
