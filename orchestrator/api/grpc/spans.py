"""The span of an RPC that the service answers."""

from __future__ import annotations

from collections.abc import Iterable

import grpc
from opentelemetry.trace import Span, SpanKind

from orchestrator.api.errors import ApiError
from orchestrator.api.grpc.errors import STATUSES
from streams import span_names as names
from streams.traceparent import TRACE_HEADERS, passed_on
from streams.tracing import code_of, describe, fail, traced

# Semantic conventions for gRPC, "Server": the others are faults of the caller.
_FAULTS = frozenset(
    {
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    }
)


def rpc_span(
    service: str, method: str, metadata: Iterable[tuple[str, str | bytes]] | None
) -> traced:
    """A span around the answer of an RPC, child of the span that the metadata names."""
    carried = passed_on(
        [
            (name, value.encode(errors="replace") if isinstance(value, str) else value)
            for name, value in metadata or ()
            if name in TRACE_HEADERS
        ]
    )
    name = f"{service}/{method}"
    return traced(
        name,
        SpanKind.SERVER,
        carried=carried,
        describe=lambda: {names.RPC_SYSTEM: names.GRPC, names.RPC_METHOD: name},
        failed=_describe_error,
    )


def describe_ok(call: traced) -> None:
    """Note that the RPC was answered."""
    describe(call.span, lambda: {names.RPC_STATUS: grpc.StatusCode.OK.name})


def _describe_error(span: Span, error: BaseException) -> None:
    status = STATUSES[error.kind] if isinstance(error, ApiError) else grpc.StatusCode.INTERNAL
    describe(span, lambda: {names.RPC_STATUS: status.name})
    if status in _FAULTS:
        fail(span, code_of(error))
