"""Everything that differs between environments, read once from APP_* variables. There are no defaults for secrets."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field, RedisDsn, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="APP_", extra="forbid", frozen=True)

    model_path: Path
    model_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    canary_path: Path | None = None
    canary_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    canary_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    view_path: Path | None = None
    store_schema: str = "cenote"

    database_url: SecretStr | None = None
    database_connections: Annotated[int, Field(ge=1, le=100)] = 8
    database_timeout: Annotated[float, Field(gt=0)] = 0.25
    redis_url: RedisDsn | None = None
    redis_timeout: Annotated[float, Field(gt=0)] = 0.05
    cache_seconds: Annotated[int, Field(ge=1)] = 30

    jwt_key: Annotated[SecretStr, Field(min_length=32)]
    jwt_issuer: str = "https://auth.example.com/"
    jwt_audience: str = "scoring-api"
    rate_limit: str = "200/second"
    max_rows: Annotated[int, Field(ge=1)] = 10_000
    drain_seconds: Annotated[float, Field(ge=0)] = 0.0

    @cached_property
    def dsn(self) -> str | None:
        return self.database_url.get_secret_value() if self.database_url else None
