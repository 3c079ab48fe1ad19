"""Identifies callers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.api.access.caller import Caller
from orchestrator.api.access.keys import Keys, key_hash
from orchestrator.api.errors import ApiError, Kind


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
