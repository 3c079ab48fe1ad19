"""Which tokens are taken, and what their claims mean. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from orchestrator.api.access.browsers import is_this_machine
from orchestrator.api.access.rights import Right

ALGORITHMS = frozenset(
    {
        *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
        *("ES256", "ES384", "ES512", "EdDSA"),
    }
)
"""Those with a public key. With ``none`` or ``HS256`` whoever knows the public key could sign."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcConfig:
    """An issuer, and how its tokens are read.

    Raises:
        ValueError: a value is wrong; the message names the setting.
    """

    issuer: str
    audience: str
    algorithms: frozenset[str]
    jwks_url: str
    """The address of the issuer's keys; empty: by discovery."""
    tenant_claim: str
    scope_claim: str
    rights: Mapping[str, Right]
    """Our right by the issuer's word for it."""
    leeway_s: float
    """By how much clocks may differ."""
    refetch_s: float
    """The keys are asked for at most this often."""

    def __post_init__(self) -> None:
        check_url(self.issuer, "oidc_issuer")
        if self.jwks_url:
            check_url(self.jwks_url, "oidc_jwks_url")
        for name in ("audience", "tenant_claim", "scope_claim"):
            if not getattr(self, name):
                raise ValueError(f"oidc_{name} is empty, and oidc_issuer is set")
        if not self.algorithms or not self.algorithms <= ALGORITHMS:
            raise ValueError(f"oidc_algorithms must be some of {', '.join(sorted(ALGORITHMS))}")
        if not self.rights:
            raise ValueError("oidc_scopes is empty: no token could do anything")


def check_url(url: str, name: str) -> str:
    """The address, if its answers cannot be changed on the way: HTTPS, or on this machine.

    Raises:
        ValueError: it is another one.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        raise ValueError(f"{name} is not a URL") from None
    safe = parts.scheme == "https" or (parts.scheme == "http" and is_this_machine(host))
    if not host or not safe or parts.username is not None or parts.fragment:
        raise ValueError(f"{name} must be https://HOST..., or http:// on this machine")
    return url


def rights_of(text: str) -> dict[str, Right]:
    """Read ``word=right`` pairs, separated by commas; ValueError if one is not such a pair."""
    rights = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        word, _, right = pair.rpartition("=")
        if not word or right not in list(Right):
            raise ValueError(f"oidc_scopes: each is WORD=one of {', '.join(Right)}")
        rights[word.strip()] = Right(right)
    return rights
