"""A span of a trace that is not sampled: a few fields, in case it fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import INVALID_SPAN_CONTEXT, Link, NonRecordingSpan, SpanContext, SpanKind
from opentelemetry.util.types import AttributeValue

from streams.traceparent import Carried, span_context

Attributes = Mapping[str, AttributeValue]
Describe = Callable[[], Attributes]
"""Returns attributes of a span; called only for a span that is exported."""

_IDS = RandomIdGenerator()


class UnsampledSpan(NonRecordingSpan):
    """Exported at its end if it failed; then it gets an id.

    To everything that follows it passes its parent on, as a process without an exporter does: no
    span of an unsampled trace is expected to be found. To OpenTelemetry's API it records nothing;
    only ``streams.tracing`` knows what it keeps.

    Args:
        carried: the trace headers of the parent.
        above: the unsampled span of this process that it is in; None: the parent is elsewhere.
        name: see ``streams.span_names``.
        kind: the side of the call or record that this process is on.
        describe: its attributes.
        links: see ``traced``.
        start_ns: Unix nanoseconds; None: now.
        export: takes a span that failed, when it ends.
    """

    def __init__(
        self,
        carried: Carried,
        above: UnsampledSpan | None,
        name: str,
        kind: SpanKind,
        describe: Describe | None,
        links: Sequence[Link],
        start_ns: int | None,
        export: Callable[[UnsampledSpan], None],
    ) -> None:
        # Without the context of the base class: few spans are ever asked for it.
        super().__init__(INVALID_SPAN_CONTEXT)
        self.carried = carried
        self.name = name
        self.kind = kind
        self.links = links
        self.code: str | None = None
        """Why it failed."""
        self.start_ns = start_ns or time.time_ns()
        self.end_ns: int | None = None
        self._above = above
        self._described: tuple[Describe | None, ...] = (describe,)
        self._export = export
        self._own: SpanContext | None = None

    def get_span_context(self) -> SpanContext:
        """The parent's, see above."""
        return span_context(self.carried)

    @property
    def own_context(self) -> SpanContext:
        """Its trace, and the id with which it is exported."""
        if self._own is None:
            found = span_context(self.carried)
            self._own = SpanContext(
                found.trace_id,
                _IDS.generate_span_id(),
                is_remote=False,
                trace_flags=found.trace_flags,
                trace_state=found.trace_state,
            )
        return self._own

    @property
    def parent(self) -> SpanContext:
        """The span of this process that it is in, otherwise the parent elsewhere."""
        return span_context(self.carried) if self._above is None else self._above.own_context

    @property
    def attributes(self) -> dict[str, AttributeValue]:
        """All attributes, made now."""
        made = [describe() for describe in self._described if describe is not None]
        return {name: value for attributes in made for name, value in attributes.items()}

    def describe(self, describe: Describe) -> None:
        """Add attributes."""
        self._described = (*self._described, describe)

    def fail(self, code: str) -> None:
        """Mark the span as failed; without effect after its end."""
        if self.end_ns is None:
            self.code = code

    def end(self, end_time: int | None = None) -> None:
        """End the span; without effect after its end."""
        if self.end_ns is None:
            self.end_ns = end_time or time.time_ns()
            if self.code is not None:
                self._export(self)
