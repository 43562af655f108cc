"""Everything that differs between environments, read once from APP_* variables. There are no defaults for secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AnyHttpUrl, Field, RedisDsn, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Seconds = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="APP_", extra="forbid", frozen=True, protected_namespaces=())

    # The model: a reference into the registry such as late@production, which is watched; or a file.
    model: str | None = None
    trusted_keys_path: Path | None = None  # PEM: no registered model serves that this key has not signed
    model_path: Path | None = None
    model_sha256: Digest | None = None
    canary_path: Path | None = None
    canary_sha256: Digest | None = None
    canary_share: Share = 0.0

    # Where features come from.
    database_url: SecretStr | None = None
    view_path: Path | None = None
    store_schema: str = "cenote"
    raw_table: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$")] | None = None
    database_connections: Annotated[int, Field(ge=1, le=100)] = 8
    database_timeout: Seconds = 0.25
    on_stale: Literal["na", "use", "error"] = "na"
    redis_url: RedisDsn | None = None
    redis_timeout: Seconds = 0.05
    cache_seconds: Annotated[int, Field(ge=1)] = 30

    # Who may call, and how much. Tokens are signed with a key that is shared (HS256), or by an OIDC provider whose keys are fetched.
    jwt_key: Annotated[SecretStr, Field(min_length=32)] | None = None
    jwks_url: AnyHttpUrl | None = None
    jwt_issuer: str = "https://auth.example.com/"
    jwt_audience: str = "scoring-api"
    rate_limit: str = "200/second"
    max_rows: Annotated[int, Field(ge=1)] = 10_000
    max_body_bytes: Annotated[int, Field(ge=1)] = 8 << 20

    drain_seconds: Annotated[float, Field(ge=0)] = 0.0
    otlp_endpoint: AnyHttpUrl | None = None

    @model_validator(mode="after")
    def whole(self) -> Self:
        if (self.model is None) == (self.model_path is None):
            raise ValueError("give either model (a reference into the registry) or model_path (a file)")
        if (self.model or self.view_path or self.raw_table) and self.database_url is None:
            raise ValueError("model, view_path and raw_table need database_url")
        if self.model and self.view_path is None:
            raise ValueError("a registered model is bound to a view: give view_path")
        if (self.jwt_key is None) == (self.jwks_url is None):
            raise ValueError("give either jwt_key or jwks_url")
        return self

    @property
    def dsn(self) -> str | None:
        return self.database_url.get_secret_value() if self.database_url else None

    @property
    def model_name(self) -> str:
        """The name under which the V2 routes know the model."""
        if self.model is not None:
            return self.model.replace("#", "@").replace(":", "@").partition("@")[0]
        return self.model_path.stem if self.model_path else ""
