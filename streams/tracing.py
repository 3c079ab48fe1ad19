"""The trace of a task through records: read from headers, written into headers, and its spans.

No instrumentation knows Faust's consumer, so this module connects the two. Headers come from
outside: one that does not decode, or is not a trace, starts a new trace and raises nothing.

A process without an exporter makes no span: it passes the trace of a record on unchanged. With an
exporter, a record without a trace begins one, and its sampling is decided there, once: the
decision is in the flags of every header that follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Token
from types import TracebackType

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    Span,
    SpanKind,
    Status,
    StatusCode,
)
from opentelemetry.util.types import AttributeValue

from schemas.errors import OrchestratorError
from streams import span_names as names
from streams.traceparent import (
    Carried,
    Headers,
    carried_of,
    ids_of,
    is_sampled,
    passed_on,
    span_context,
    unsampled_trace,
)
from streams.unsampled_span import Attributes, Describe, UnsampledSpan

_TRACER = trace.get_tracer(names.INSTRUMENTATION, schema_url=names.SCHEMA_URL)
_NO_CONTEXT = Context()


class _Export:
    """What the exporter of this process decides and takes."""

    def __init__(self) -> None:
        self.on = False
        self.samples: Callable[[Sequence[Link]], bool] = lambda links: False
        self.failed: Callable[[UnsampledSpan], None] = lambda span: None


_EXPORT = _Export()


def begin_export(
    samples: Callable[[Sequence[Link]], bool], failed: Callable[[UnsampledSpan], None]
) -> None:
    """Make spans from now on; call it after the tracer provider of the process was set.

    Args:
        samples: decides whether a trace that begins here is sampled, by the links of its first
            span. The provider gets only spans of sampled traces, and must keep all of them.
        failed: takes each span of another trace that failed.
    """
    _EXPORT.samples, _EXPORT.failed = samples, failed
    _EXPORT.on = True


def exports() -> bool:
    """Whether this process exports spans."""
    return _EXPORT.on


def trace_headers() -> Carried:
    """The headers that make the current span the parent of what follows; empty without one."""
    return _carried_of(trace.get_current_span())


def current_ids() -> tuple[str, str] | None:
    """The ids of the current trace and span, in hexadecimal digits; None without a trace."""
    return ids_of(trace_headers())


def exemplar() -> dict[str, str] | None:
    """The labels of an exemplar for the current span; None if its trace is not sampled."""
    found = trace.get_current_span().get_span_context()
    if not (found.is_valid and found.trace_flags.sampled):
        return None
    return {"trace_id": f"{found.trace_id:032x}"}


class traced:  # noqa: N801  # reads as a statement: with traced(...) as span
    """A span around a block, current inside it.

    An exception marks the span as failed, with the error's code, and passes; a cancellation marks
    nothing. Without an exporter the block only has the parent's trace as its current one, so that
    it can be passed on.

    Args:
        name: as the conventions say (:mod:`streams.span_names`).
        kind: the side of the call or record that this process is on.
        carried: the trace headers that it follows from, empty for a trace that begins here;
            None: it follows from the current span.
        describe: makes its attributes: no payloads, no secrets.
        links: spans that caused this one and are not its parent.
        failed: describes an exception that ends the block; None: the span failed.
    """

    __slots__ = ("_ends", "_failed", "_token", "span")

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        *,
        carried: Carried | None = None,
        describe: Describe | None = None,
        links: Sequence[Link] = (),
        failed: Callable[[Span, BaseException], None] | None = None,
    ) -> None:
        self.span: Span = start_span(name, kind, carried=carried, describe=describe, links=links)
        """The span. :func:`describe` and :func:`fail` work on it, whether it is sampled or not."""
        self._failed = failed or _describe_failure
        self._token: Token[Context] | None = None
        self._ends = True

    def __enter__(self) -> traced:
        # A process that makes no spans has nothing to attach inside another block.
        if self.span is not trace.get_current_span():
            self._token = attach(trace.set_span_in_context(self.span))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        if self._token is not None:
            detach(self._token)
        if not _EXPORT.on:
            return
        if error is not None and not isinstance(error, asyncio.CancelledError | GeneratorExit):
            self._failed(self.span, error)
        if self._ends:
            self.span.end()

    def drop(self) -> None:
        """Do not export the span: the block found that another one has to do the work."""
        self._ends = False


def start_span(
    name: str,
    kind: SpanKind,
    *,
    carried: Carried | None = None,
    describe: Describe | None = None,
    links: Sequence[Link] = (),
    start_ns: int | None = None,
) -> Span:
    """As :class:`traced`, for work that is not one block: whoever calls this ends the span.

    ``start_ns`` is the begin of the work, Unix nanoseconds; None: now.
    """
    current = trace.get_current_span() if carried is None else None
    if not _EXPORT.on:
        return _passing_on(carried or {}) if current is None else current
    above = current if isinstance(current, UnsampledSpan) else None
    if above is not None:
        parent = above.carried
    else:
        parent = _carried_of(current) if current is not None else carried or {}
        if is_sampled(parent) if parent else _EXPORT.samples(links):
            return _sampled(name, kind, parent, describe, links, start_ns)
    return UnsampledSpan(
        parent or unsampled_trace(), above, name, kind, describe, links, start_ns, _EXPORT.failed
    )


def consumer_span(
    headers: Headers, topic: str, partition: int, offset: int, describe: Describe | None = None
) -> traced:
    """A span around the processing of one record, child of the span that published it."""

    return traced(
        f"{names.PROCESS} {topic}",
        SpanKind.CONSUMER,
        carried=passed_on(headers),
        describe=_of_record(topic, partition, offset, describe),
    )


def producer_span(topic: str, count: int = 1) -> traced:
    """A span around the publication of records that carry it as their trace."""

    def described() -> Attributes:
        own = record_attributes(names.SEND, topic)
        return own if count == 1 else {**own, names.MESSAGE_COUNT: count}

    return traced(f"{names.SEND} {topic}", SpanKind.PRODUCER, describe=described)


def creation_headers(topic: str, attributes: Attributes, links: Sequence[Link]) -> Carried:
    """The trace headers of a record that is about to be published in a batch with others.

    They name a span of their own, which is over at once. Empty without an exporter.
    """
    if not _EXPORT.on:
        return {}
    with traced(
        f"{names.CREATE} {topic}",
        SpanKind.PRODUCER,
        describe=lambda: {**record_attributes(names.CREATE, topic), **attributes},
        links=links,
    ):
        return trace_headers()


class RecordSpan:
    """As :func:`consumer_span`, for work that is not one block and is soon done.

    In an unsampled trace it is no span: what follows has the record's own span as its parent, and
    only a failure is exported. Without an exporter the trace is passed on.
    """

    __slots__ = ("_given", "_span", "headers")

    def __init__(
        self,
        headers: Headers,
        topic: str,
        partition: int,
        offset: int,
        describe: Describe | None = None,
    ) -> None:
        self.headers = passed_on(headers)
        """The trace headers of what follows."""
        self._given = topic, partition, offset, describe
        self._span: Span | None = None
        if not _EXPORT.on:
            return
        if is_sampled(self.headers) if self.headers else _EXPORT.samples(()):
            self._span = self._started(sampled=True)
            self.headers = _carried_of(self._span)
        elif not self.headers:
            self.headers = unsampled_trace()

    def fail(self, code: str) -> None:
        """Mark the work as failed."""
        if self._span is None and _EXPORT.on:
            self._span = self._started(sampled=False)
        if self._span is not None:
            fail(self._span, code)

    def end(self) -> None:
        """End the span. Without this call it is not exported."""
        if self._span is not None:
            self._span.end()

    def _started(self, *, sampled: bool) -> Span:
        topic, partition, offset, describe = self._given
        name = f"{names.PROCESS} {topic}"
        described = _of_record(topic, partition, offset, describe)
        if sampled:
            return _sampled(name, SpanKind.CONSUMER, self.headers, described, (), None)
        return start_span(name, SpanKind.CONSUMER, carried=self.headers, describe=described)


def links_to(headers: Headers) -> list[Link]:
    """A link to the span that headers name; empty if they name none."""
    found = span_context(passed_on(headers))
    return [Link(found)] if found.is_valid else []


def record_attributes(
    operation: str, topic: str, partition: int | None = None, offset: int | None = None
) -> dict[str, AttributeValue]:
    """The attributes of a span that sends or processes a record."""
    found: dict[str, AttributeValue] = {
        names.MESSAGING_SYSTEM: names.KAFKA,
        names.OPERATION_NAME: operation,
        names.OPERATION_TYPE: operation,
        names.DESTINATION: topic,
    }
    if partition is not None:
        found[names.PARTITION] = str(partition)
    if offset is not None:
        found[names.OFFSET] = offset
    return found


def current_span() -> Span:
    """The span that is current here; without one, a span that keeps nothing."""
    return trace.get_current_span()


def describe(span: Span, attributes: Describe) -> None:
    """Add attributes to a span that is not over; no payloads, no secrets."""
    if isinstance(span, UnsampledSpan):
        span.describe(attributes)
    elif span.is_recording():
        span.set_attributes(attributes())


def rename(span: Span, name: str) -> None:
    """Change the name of a span that is not over."""
    if isinstance(span, UnsampledSpan):
        span.name = name
    else:
        span.update_name(name)


def fail(span: Span, code: str) -> None:
    """Mark a span as failed; a span that ended stays as it is."""
    if isinstance(span, UnsampledSpan):
        span.fail(code)
    elif span.is_recording():
        span.set_attribute(names.ERROR_TYPE, code)
        span.set_status(Status(StatusCode.ERROR, code))


def code_of(error: BaseException) -> str:
    """The stable code of an error, or the name of its class; never its message."""
    return error.code if isinstance(error, OrchestratorError) else type(error).__name__


def _describe_failure(span: Span, error: BaseException) -> None:
    fail(span, code_of(error))


def _of_record(topic: str, partition: int, offset: int, more: Describe | None) -> Describe:
    def described() -> Attributes:
        own = record_attributes(names.PROCESS, topic, partition, offset)
        return own if more is None else {**own, **more()}

    return described


def _passing_on(carried: Carried) -> Span:
    return NonRecordingSpan(span_context(carried)) if carried else INVALID_SPAN


def _sampled(
    name: str,
    kind: SpanKind,
    parent: Carried,
    describe: Describe | None,
    links: Sequence[Link],
    start_ns: int | None,
) -> Span:
    attributes = None if describe is None else describe()
    context = trace.set_span_in_context(_passing_on(parent), _NO_CONTEXT)
    return _TRACER.start_span(name, context, kind, attributes, links, start_ns)


def _carried_of(span: Span) -> Carried:
    if isinstance(span, UnsampledSpan):
        return span.carried
    return carried_of(span.get_span_context())
