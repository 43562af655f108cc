"""What the service tells of itself: Prometheus metrics, and OpenTelemetry traces where the packages are installed."""

from __future__ import annotations

import importlib

from fastapi import FastAPI
from prometheus_client import Counter, Gauge, Histogram

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
SCORE = Histogram("app_score_seconds", "time of scoring, without I/O", ["model"], buckets=BUCKETS)
ROWS = Histogram("app_score_rows", "rows of a request", buckets=(1, 10, 100, 1_000, 10_000))
REQUEST = Histogram("app_request_seconds", "time of a request", ["route", "status"], buckets=BUCKETS)
CACHE = Counter("app_cache_total", "look-ups of the cache", ["outcome"])
LIMITER = Counter("app_limiter_total", "refusals and fallbacks of the rate limiter", ["outcome"])
MODEL = Gauge("app_model_info", "1 for each model that serves", ["role", "digest"])


def instrument(app: FastAPI) -> bool:
    """Trace requests if opentelemetry-instrumentation-fastapi is there; whether it is."""
    try:
        module = importlib.import_module("opentelemetry.instrumentation.fastapi")
    except ImportError:
        return False
    module.FastAPIInstrumentor.instrument_app(app, excluded_urls="health/.*,metrics")
    return True
