"""Identifies the caller of a gRPC call."""

from orchestrator.api.access.access import Access
from orchestrator.api.access.caller import Caller
from orchestrator.api.grpc.errors import Context


def caller_of(access: Access, context: Context) -> Caller:
    """The caller, by the metadata ``authorization`` or ``x-api-key``.

    Raises:
        ApiError: UNAUTHENTICATED.
    """
    metadata = dict(context.invocation_metadata() or ())
    given = metadata.get("authorization") or metadata.get("x-api-key")
    text = given.decode(errors="replace") if isinstance(given, bytes) else given
    return access.caller(text, transport="grpc")
