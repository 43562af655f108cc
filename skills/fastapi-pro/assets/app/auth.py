"""OAuth2 bearer tokens: verified whole (signature, algorithm, expiry, issuer, audience), then compared with the route's scopes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import jwt
from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import OAuth2PasswordBearer, SecurityScopes

SCOPES = {"score:read": "score rows and entities", "model:admin": "swap the model"}
bearer = OAuth2PasswordBearer(tokenUrl="/token", scopes=SCOPES, auto_error=False)


@dataclass(frozen=True)
class Caller:
    """Who is calling: the token's subject and what it may do."""

    subject: str
    scopes: frozenset[str]


async def current_caller(request: Request, wanted: SecurityScopes, token: Annotated[str | None, Depends(bearer)]) -> Caller:
    settings = request.app.state.settings
    challenge = {"WWW-Authenticate": f'Bearer scope="{wanted.scope_str}"' if wanted.scopes else "Bearer"}
    try:
        claims = jwt.decode(
            token or "",
            settings.jwt_key.get_secret_value(),
            algorithms=["HS256"],
            audience=settings.jwt_audience,
            issuer=settings.jwt_issuer,
            options={"require": ["exp", "aud", "iss", "sub"]},
        )
    except jwt.PyJWTError:
        raise HTTPException(401, "a valid bearer token is needed", challenge) from None
    caller = Caller(str(claims["sub"]), frozenset(str(claims.get("scope", "")).split()))
    if missing := [s for s in wanted.scopes if s not in caller.scopes]:
        raise HTTPException(403, f"the token lacks {' '.join(missing)}", challenge)
    return caller


Reader = Annotated[Caller, Security(current_caller, scopes=["score:read"])]
Admin = Annotated[Caller, Security(current_caller, scopes=["model:admin"])]
