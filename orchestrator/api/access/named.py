"""What a call's headers, or its metadata over gRPC, say about its caller."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.api.access.caller import TENANT_HEADER
from orchestrator.api.errors import ApiError

ValuesOf = Callable[[str], Sequence[str]]
"""All values of a header."""


def named_key(values_of: ValuesOf) -> str | None:
    """The key, or None; raises ``ApiError`` REQUEST_INVALID if it is given more than once."""
    return _once("authorization", values_of) or _once("x-api-key", values_of)


def named_tenant(values_of: ValuesOf) -> str | None:
    """The tenant, or None; raises as :func:`named_key`."""
    return _once(TENANT_HEADER, values_of)


def _once(name: str, values_of: ValuesOf) -> str | None:
    values = values_of(name)
    if len(values) > 1:
        # A proxy may have checked another one than the one that would be used here.
        raise ApiError("REQUEST_INVALID", f"{name}: given more than once")
    return values[0] if values else None
