"""Spans that failed are exported, even if their trace is not sampled.

The sampling of a trace is decided at its beginning, before anyone knows what will fail. A span of
an unsampled trace is therefore kept as a few fields while it runs
(:class:`~streams.unsampled_span.UnsampledSpan`). If it failed, it is exported at its end. Its
siblings, and its ancestors that did not fail, are not: what arrives is each failed span of the
trace, with the id of the trace, which the logs and the dead letter have, too. The services
downstream see the parent that this process was given. A backend that needs whole traces of failures
needs a ratio of 1, and tail sampling in a collector.

The router and the sink make no spans in unsampled traces, except for a record that they refuse.
"""

from collections.abc import Callable

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from streams import span_names as names
from streams.unsampled_span import UnsampledSpan

_SCOPE = InstrumentationScope(names.INSTRUMENTATION, schema_url=names.SCHEMA_URL)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


def error_exporter(
    resource: Resource, export: Callable[[ReadableSpan], None]
) -> Callable[[UnsampledSpan], None]:
    """What takes a failed span and hands it to a processor of the SDK.

    Args:
        resource: of this process.
        export: ``on_end`` of the processor in front of the exporter.
    """

    def take(span: UnsampledSpan) -> None:
        found, code = span.own_context, span.code or ""
        export(
            ReadableSpan(
                name=span.name,
                # Marked as sampled, as the processor drops what is not.
                context=SpanContext(
                    found.trace_id, found.span_id, False, _SAMPLED, found.trace_state
                ),
                parent=span.parent,
                resource=resource,
                attributes={**span.attributes, names.ERROR_TYPE: code},
                links=span.links,
                kind=span.kind,
                status=Status(StatusCode.ERROR, code),
                start_time=span.start_ns,
                end_time=span.end_ns,
                instrumentation_scope=_SCOPE,
            )
        )

    return take
