"""The trace of a task through records: read from headers, written into headers.

No instrumentation knows Faust's consumer, so this module connects the two. Headers come from
outside: one that does not decode, or is not a trace, starts a new trace and raises nothing.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from schemas.headers import header_text

_PROPAGATOR = TraceContextTextMapPropagator()
_TRACER = trace.get_tracer("ai-orchestrator")


def context_of(headers: Iterable[tuple[str, bytes | None]]) -> Context:
    """The trace context of a record; an empty one if the record has no trace."""
    pairs = list(headers)
    carrier = {}
    for name in ("traceparent", "tracestate"):
        text = header_text(pairs, name)
        if text is not None:
            carrier[name] = text
    return _PROPAGATOR.extract(carrier)


def trace_headers(context: Context | None = None) -> dict[str, str]:
    """The headers that carry a context on; by default the current one. Empty without a trace."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, context)
    return carrier


@contextmanager
def consumer_span(name: str, headers: Iterable[tuple[str, bytes | None]]) -> Iterator[None]:
    """A span around the processing of one record, child of the span that published it."""
    pairs = list(headers)
    if not (_carries_trace(pairs) or _exports_traces()):
        yield
        return
    with _TRACER.start_as_current_span(name, context=context_of(pairs), kind=SpanKind.CONSUMER):
        yield


def passed_on(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
    """The trace headers of a record that follows from one with these headers."""
    pairs = list(headers)
    return trace_headers(context_of(pairs)) if _carries_trace(pairs) else {}


def _carries_trace(headers: Iterable[tuple[str, bytes | None]]) -> bool:
    return any(name == "traceparent" for name, _ in headers)


def _exports_traces() -> bool:
    """Whether a record without a trace begins one: without an SDK no exporter would see it."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
