"""Who calls."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.api.access.rights import TENANT_SCOPES, Need, Right
from orchestrator.api.errors import ApiError, Kind
from schemas.records import Millis

TENANT_HEADER = "orchestrator-tenant"
"""The header, and the metadata of gRPC, in which a caller of all tenants names one."""
ANY_TENANT = "*"
"""In place of a tenant: all of them. No id of a tenant can be this text."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The tenant and the rights of a call, and where they come from."""

    tenant_id: str
    """The tenant that the call is about; :data:`ANY_TENANT` if a caller of all tenants names
    none."""

    actor: str
    """For the audit trail: the transport, and the id of the key or of the token's subject."""

    scopes: frozenset[Right] = TENANT_SCOPES

    key_id: str = ""
    """The same for all calls with one key, or of one subject of tokens; empty without keys."""

    key_hash: str = field(default="", repr=False)
    """The hash by which the key is found again; empty for a token."""

    expires_at: Millis | None = None
    """The caller's streams end then; None: never."""

    @property
    def operator(self) -> bool:
        """True if the caller may see and edit what belongs to no tenant."""
        return Right.OPERATE in self.scopes

    def sees(self, tenant_id: str | None) -> bool:
        """True if this tenant's data are the caller's."""
        return self.tenant_id in (tenant_id, ANY_TENANT)

    def check(self, need: Need) -> None:
        """Check that the caller may do something.

        Raises:
            ApiError: SCOPE_MISSING; TENANT_MISSING: the caller has to name the tenant.
        """
        as_operator = need.of_letters and self.operator
        if need.scope not in self.scopes and not as_operator:
            message = f"this needs the scope {need.scope}, which the key does not have"
            raise ApiError("SCOPE_MISSING", message, kind=Kind.DENIED)
        if self.tenant_id == ANY_TENANT and not as_operator:
            raise ApiError("TENANT_MISSING", "name the tenant in the header orchestrator-tenant")
