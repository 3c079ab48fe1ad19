"""Verifies tokens, and reads the caller from their claims.

Sources: RFC 7519 (JWT), RFC 8725 (what to check).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from orchestrator.api.access.caller import ANY_TENANT
from orchestrator.api.access.key_ring import key_expired
from orchestrator.api.access.oidc.config import OidcConfig
from orchestrator.api.access.oidc.issuer_keys import IssuerKeys
from orchestrator.api.access.rights import Right
from orchestrator.api.errors import ApiError, Kind
from schemas.limits import ID_PATTERN
from schemas.records import Millis

_TOKEN_MAX = 16 * 1024
_FAULTS = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token says about its bearer."""

    key_id: str
    """The same for all tokens of one subject."""
    tenant: str
    scopes: frozenset[Right]
    expires_at: Millis


def is_token(secret: str) -> bool:
    """True if this may be a signed JWT: three parts."""
    return secret.count(".") == 2 and len(secret) <= _TOKEN_MAX


class Tokens:
    """The tokens of one issuer."""

    def __init__(self, config: OidcConfig, keys: IssuerKeys | None = None) -> None:
        self.keys = keys or IssuerKeys(config)
        self._config = config

    async def grant(self, token: str) -> Grant:
        """Verify a token.

        Raises:
            ApiError: UNAUTHENTICATED: it is not one of ours, or not for us, or names no tenant;
                KEY_EXPIRED; UNAVAILABLE: its key is not known, and the issuer does not answer.
        """
        config = self._config
        try:
            header = jwt.get_unverified_header(token)
            algorithm, kid = header.get("alg"), header.get("kid")
            # Before anything else: the token itself says how it wants to be verified.
            if algorithm not in config.algorithms or "crit" in header:
                raise _refused("its algorithm, or an extension of it, is not taken")
            key = await self.keys.find(kid, str(algorithm))
            if key is None:
                raise _refused("its key is not one of the issuer's")
            claims = jwt.decode(
                token,
                key,
                algorithms=[str(algorithm)],
                audience=config.audience,
                issuer=config.issuer,
                leeway=config.leeway_s,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            ends_at = Millis(round((int(claims["exp"]) + config.leeway_s) * 1000))
        except jwt.ExpiredSignatureError:
            raise key_expired() from None
        except _FAULTS as error:
            raise _refused(type(error).__name__) from None
        return self._read(claims, ends_at)

    def _read(self, claims: Mapping[str, Any], ends_at: Millis) -> Grant:
        config = self._config
        tenant = claims.get(config.tenant_claim)
        whole = tenant == ANY_TENANT
        if not isinstance(tenant, str) or not (whole or ID_PATTERN.fullmatch(tenant)):
            raise _refused(f"its claim {config.tenant_claim} names no tenant")
        said = claims.get(config.scope_claim, "")
        words = said.split() if isinstance(said, str) else said if isinstance(said, list) else []
        scopes = {config.rights[word] for word in words if word in config.rights}
        if not whole:
            # It reaches the dead letters of all tenants.
            scopes.discard(Right.OPERATE)
        return Grant(_subject(str(claims["sub"])), tenant, frozenset(scopes), ends_at)


def _subject(sub: str) -> str:
    """A short name of a subject; an address, say, is not written into events as it is."""
    short = sub if ID_PATTERN.fullmatch(sub) and len(sub) <= 40 else None
    return f"oidc:{short or hashlib.sha256(sub.encode()).hexdigest()[:16]}"


def _refused(why: str) -> ApiError:
    message = f"this token is not accepted: {why}"
    return ApiError("UNAUTHENTICATED", message, kind=Kind.UNAUTHENTICATED)
