"""API keys: each belongs to a tenant, or to all of them, and has rights and an end."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.api.access.caller import ANY_TENANT
from orchestrator.api.access.rights import TENANT_SCOPES, Right
from schemas.limits import ID_PATTERN
from schemas.records import Millis

PREFIX = "orch_"
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key as the service knows it: never the key itself.

    Raises:
        ValueError: a field is wrong; the message does not quote the hash.
    """

    id: str
    tenant: str
    """A tenant, or ``*`` for all: each call then names its tenant."""
    scopes: frozenset[Right]
    hash: str
    """:func:`key_hash` of the key."""
    expires_at: Millis | None = None
    revoked_at: Millis | None = None

    def __post_init__(self) -> None:
        if not ID_PATTERN.fullmatch(self.id):
            raise ValueError(f"id does not match {ID_PATTERN.pattern}")
        if self.tenant != ANY_TENANT and not ID_PATTERN.fullmatch(self.tenant):
            raise ValueError(f"tenant is neither * nor matches {ID_PATTERN.pattern}")
        if not self.scopes:
            raise ValueError("scopes is empty")
        if Right.OPERATE in self.scopes and self.tenant != ANY_TENANT:
            raise ValueError("operate reaches the dead letters of all tenants: tenant must be *")
        if not _HASH.fullmatch(self.hash):
            raise ValueError("hash is not 64 hex digits in lower case")


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys by their hash. False if it holds none."""

    by_hash: Mapping[str, Key]

    @classmethod
    def parse(cls, text: str) -> Keys:
        """Read ``tenant:hash`` pairs, separated by commas: keys that read and write, without end.

        Raises:
            ValueError: a part is not such a pair; the message does not quote it.
        """
        by_hash: dict[str, Key] = {}
        for number, pair in enumerate(filter(None, map(str.strip, text.split(","))), start=1):
            tenant, _, digest = pair.rpartition(":")
            if not ID_PATTERN.fullmatch(tenant) or not _HASH.fullmatch(digest):
                raise ValueError(f"keys: pair {number} is not tenant:hash (64 hex digits)")
            by_hash[digest] = Key(id=digest[:8], tenant=tenant, scopes=TENANT_SCOPES, hash=digest)
        return cls(by_hash)

    def __bool__(self) -> bool:
        return bool(self.by_hash)


def new_key(entropy: bytes) -> str:
    """A key from at least 32 random bytes."""
    return PREFIX + entropy.hex()


def key_hash(key: str) -> str:
    """The form in which the configuration holds a key.

    SHA-256 without salt or stretching: a key has 256 random bits, so it cannot be guessed
    from its hash, and the hash finds its tenant without comparing secrets.
    """
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
