"""OAuth2 bearer tokens: verified whole (signature, algorithm, expiry, issuer, audience), then compared with the route's scopes.

The key is shared with the issuer (HS256), or an OIDC provider's, fetched from its JWKS and kept for five minutes. Algorithms are fixed
by where the key comes from, never by what the token says.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any

import jwt
from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import OAuth2PasswordBearer, SecurityScopes

from .settings import Settings

SCOPES = {"score:read": "score rows and entities", "model:admin": "swap the model"}
bearer = OAuth2PasswordBearer(tokenUrl="/token", scopes=SCOPES, auto_error=False)


@dataclass(frozen=True)
class Caller:
    """Who is calling: the token's subject and what it may do."""

    subject: str
    scopes: frozenset[str]


class Verifier:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys = (
            jwt.PyJWKClient(str(settings.jwks_url), cache_keys=True, lifespan=300, timeout=2) if settings.jwks_url else None
        )

    async def claims(self, token: str) -> dict[str, Any]:
        """The verified claims. Raises jwt.PyJWTError."""
        if self._keys is None:
            assert self._settings.jwt_key is not None
            return self._decode(token, self._settings.jwt_key.get_secret_value(), ["HS256"])
        # The first look-up of a key asks the provider: a thread waits for it, not the event loop.
        key = await asyncio.to_thread(self._keys.get_signing_key_from_jwt, token)
        return self._decode(token, key.key, ["RS256", "ES256", "EdDSA"])

    def _decode(self, token: str, key: Any, algorithms: list[str]) -> dict[str, Any]:
        settings = self._settings
        return jwt.decode(
            token,
            key,
            algorithms=algorithms,
            audience=settings.jwt_audience,
            issuer=settings.jwt_issuer,
            options={"require": ["exp", "aud", "iss", "sub"]},
        )


async def current_caller(request: Request, wanted: SecurityScopes, token: Annotated[str | None, Depends(bearer)]) -> Caller:
    challenge = {"WWW-Authenticate": f'Bearer scope="{wanted.scope_str}"' if wanted.scopes else "Bearer"}
    try:
        claims = await request.app.state.verifier.claims(token or "")
    except jwt.PyJWKClientConnectionError:
        raise HTTPException(503, "the identity provider does not answer", {"Retry-After": "1"}) from None
    except jwt.PyJWTError:
        raise HTTPException(401, "a valid bearer token is needed", challenge) from None
    caller = Caller(str(claims["sub"]), frozenset(str(claims.get("scope", "")).split()))
    if missing := [s for s in wanted.scopes if s not in caller.scopes]:
        raise HTTPException(403, f"the token lacks {' '.join(missing)}", challenge)
    return caller


Reader = Annotated[Caller, Security(current_caller, scopes=["score:read"])]
Admin = Annotated[Caller, Security(current_caller, scopes=["model:admin"])]
