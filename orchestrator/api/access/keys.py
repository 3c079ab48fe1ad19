"""API keys: each belongs to a tenant, and only the key determines the tenant."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

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
