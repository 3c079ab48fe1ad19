"""The spans of the sink's writes: one for each event of a sampled trace, and one for the batch.

The span of an event is a child of the router's, so that the tree of a task ends with its rows. The
span of the batch begins a trace of its own, because a batch belongs to many tasks: it links to the
events, and each of their spans links to it. A batch without an event of a sampled trace has no
spans, and neither has an event without a trace: the router has decided about both.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from opentelemetry.trace import Link, SpanKind
from opentelemetry.util.types import AttributeValue

from schemas.dead_letter import Origin
from streams import span_names as names
from streams.traceparent import may_be_sampled, passed_on
from streams.tracing import exports, fail, links_to, record_attributes, start_span

_LINKS_MAX = 128
"""As many as the SDK keeps by default."""
_TABLE = "tasks"
_OPERATION = "write"
_BATCH: Mapping[str, AttributeValue] = {
    names.DB_SYSTEM: names.POSTGRES,
    names.DB_COLLECTION: _TABLE,
    names.DB_OPERATION: _OPERATION,
}


class WriteSpans:
    """The spans of one batch, from now until :meth:`end`."""

    def __init__(self, records: Sequence[Origin]) -> None:
        self._records = records
        self._start_ns = time.time_ns()
        self._refused: dict[int, str] = {}

    def refused(self, offset: int, code: str) -> None:
        """Note that the rows of the event at this offset were refused; it is dead-lettered."""
        self._refused[offset] = code

    def end(self) -> None:
        """Export the spans of a batch that is written. Without this call there are none."""
        if not exports():
            return
        wanted = [
            r for r in self._records if may_be_sampled(r.headers) or r.offset in self._refused
        ]
        if wanted:
            self._export(wanted)

    def _export(self, wanted: Sequence[Origin]) -> None:
        batch = start_span(
            f"{_OPERATION} {_TABLE}",
            SpanKind.CLIENT,
            carried={},
            describe=lambda: {**_BATCH, names.MESSAGE_COUNT: len(self._records)},
            links=[link for r in wanted for link in links_to(r.headers)][:_LINKS_MAX],
            start_ns=self._start_ns,
        )
        end_ns = time.time_ns()
        link = Link(batch.get_span_context())
        for record in wanted:
            self._export_one(record, link, end_ns)
        batch.end(end_ns)

    def _export_one(self, record: Origin, batch: Link, end_ns: int) -> None:
        task_id = (record.key or b"").decode(errors="replace")
        span = start_span(
            f"{names.PROCESS} {record.topic}",
            SpanKind.CONSUMER,
            carried=passed_on(record.headers),
            describe=lambda: {
                **record_attributes(names.PROCESS, record.topic, record.partition, record.offset),
                names.TASK: task_id,
            },
            links=[batch],
            start_ns=self._start_ns,
        )
        if record.offset in self._refused:
            fail(span, self._refused[record.offset])
        span.end(end_ns)
