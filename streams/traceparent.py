"""The headers of W3C Trace Context, as mappings of names to texts. Pure, except for new ids.

They come from outside: headers that are not a trace are no trace, and raise nothing.

Source: W3C Trace Context, level 2, sections 3.2 and 3.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from random import getrandbits

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACE_HEADERS = ("traceparent", "tracestate")

Headers = Iterable[tuple[str, bytes | None]]
Carried = Mapping[str, str]
"""The trace headers of a record, as :func:`passed_on` returns them; empty without a trace."""

_PROPAGATOR = TraceContextTextMapPropagator()
_NO_CONTEXT = Context()
# At least 512 characters have to be passed on. Every record of a task carries them, so more are
# not.
_TRACESTATE_MAX = 512
_TRACEPARENT = re.compile("00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = frozenset("13579bdf")
"""Last characters of a ``traceparent`` whose lowest bit, ``sampled``, is set."""


def passed_on(headers: Headers) -> Carried:
    """The trace headers of a record that follows from one with these headers.

    A ``tracestate`` that is longer than 512 characters, or is not one, is left out.
    """
    parent = state = None
    for name, value in headers:
        if name == "traceparent":
            parent = value
        elif name == "tracestate":
            state = value
    if parent is None:
        return {}
    text = parent[:_TRACESTATE_MAX].decode(errors="replace")
    if not state and _TRACEPARENT.fullmatch(text) is not None:
        return {"traceparent": text}
    # With a state, or perhaps of a later version.
    return carried_of(_extracted(_carrier(text, state)))


def carried_of(found: SpanContext) -> Carried:
    """The headers that make a span the parent of what follows; empty for no span."""
    if not found.is_valid:
        return {}
    parent = f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"
    if not found.trace_state:
        return {"traceparent": parent}
    return {"traceparent": parent, "tracestate": found.trace_state.to_header()}


def span_context(carried: Carried) -> SpanContext:
    """The span that headers name; an invalid one if they name none."""
    if not carried:
        return INVALID_SPAN_CONTEXT
    if len(carried) > 1 or (found := _TRACEPARENT.fullmatch(carried["traceparent"])) is None:
        return _extracted(carried)
    return SpanContext(int(found[1], 16), int(found[2], 16), True, TraceFlags(int(found[3], 16)))


def unsampled_trace() -> Carried:
    """The headers of a trace that begins here and is not sampled."""
    return {"traceparent": f"00-{getrandbits(128) or 1:032x}-{getrandbits(64) or 1:016x}-00"}


def is_sampled(carried: Carried) -> bool:
    """Whether headers belong to a sampled trace."""
    return carried.get("traceparent", "0")[-1] in _SAMPLED


def may_be_sampled(headers: Headers) -> bool:
    """False for headers that belong to no sampled trace, at a glance; true for some others, too."""
    return any(
        name == "traceparent" and value and chr(value[-1]) in _SAMPLED for name, value in headers
    )


def ids_of(carried: Carried) -> tuple[str, str] | None:
    """The ids of the trace and of the span in headers, in hexadecimal digits."""
    found = _TRACEPARENT.fullmatch(carried.get("traceparent", ""))
    return None if found is None else (found[1], found[2])


def _carrier(parent: str, state: bytes | None) -> Carried:
    if not state or len(state) > _TRACESTATE_MAX:
        return {"traceparent": parent}
    return {"traceparent": parent, "tracestate": state.decode(errors="replace")}


def _extracted(carrier: Carried) -> SpanContext:
    context = _PROPAGATOR.extract(carrier, context=_NO_CONTEXT)
    return trace.get_current_span(context).get_span_context()
