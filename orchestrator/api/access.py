"""Identifies callers: an API key belongs to a tenant, and only the key determines the tenant."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from orchestrator.api.errors import ApiError, Kind
from schemas.limits import ID_PATTERN

_PREFIX = "orch_"
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Keys:
    """The tenant of each key, by the key's hash. False if it holds no key."""

    tenants: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Keys:
        """Read ``tenant:hash`` pairs, separated by commas.

        Raises:
            ValueError: a part is not such a pair; the message does not quote it.
        """
        tenants: dict[str, str] = {}
        for number, pair in enumerate(filter(None, map(str.strip, text.split(","))), start=1):
            tenant, _, digest = pair.rpartition(":")
            if not ID_PATTERN.fullmatch(tenant) or not _HASH.fullmatch(digest):
                raise ValueError(f"keys: pair {number} is not tenant:hash (64 hex digits)")
            tenants[digest] = tenant
        return cls(tenants)

    def __bool__(self) -> bool:
        return bool(self.tenants)


def new_key(entropy: bytes) -> str:
    """A key from at least 32 random bytes."""
    return _PREFIX + entropy.hex()


def key_hash(key: str) -> str:
    """The form in which the configuration holds a key.

    SHA-256 without salt or stretching: a key has 256 random bits, so it cannot be guessed
    from its hash, and the hash finds its tenant without comparing secrets.
    """
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Caller:
    """The tenant and the actor of a call."""

    tenant_id: str
    actor: str
    """For the audit trail: the transport, and the first digits of the key's hash."""
    operator: bool = False
    """True if no keys are configured: only people on this machine reach the service. They also
    see the dead letters without a known tenant."""


@dataclass(frozen=True, slots=True)
class Access:
    """Identifies the caller of each call."""

    keys: Keys
    open_tenant: str

    def caller(self, given: str | None, *, transport: Literal["grpc", "http"]) -> Caller:
        """The caller of a key; ``given`` is ``Bearer <key>``, or the key alone.

        Raises:
            ApiError: UNAUTHENTICATED; keys are configured, and this is not one of them.
        """
        if not self.keys:
            return Caller(self.open_tenant, f"api/{transport}", operator=True)
        scheme, _, rest = (given or "").partition(" ")
        key = rest.strip() if scheme.lower() == "bearer" else (given or "")
        digest = key_hash(key)
        tenant = self.keys.tenants.get(digest)
        if tenant is None:
            what = "this key is not known" if given else "a key is needed: authorization: Bearer"
            raise ApiError("UNAUTHENTICATED", what, kind=Kind.UNAUTHENTICATED)
        return Caller(tenant, f"api/{transport}/{digest[:8]}")
