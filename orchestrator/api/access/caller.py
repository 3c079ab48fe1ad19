"""Who calls."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """The tenant and the actor of a call."""

    tenant_id: str
    actor: str
    """For the audit trail: the transport, and the first digits of the key's hash."""
    operator: bool = False
    """True if no keys are configured: only people on this machine reach the service. They also
    see the dead letters without a known tenant."""
