"""Record headers: CloudEvents in binary mode, so that a reader can route without decoding.

Source: CloudEvents, "Kafka Protocol Binding", 1.0.2, section 3.2 (``ce_`` prefix, UTF-8).
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache

Headers = list[tuple[str, bytes | None]]
"""Kafka's headers: ordered, names may repeat. A list, because aiokafka's send accepts only one."""

SOURCE = "/ai-orchestrator"

_SPECVERSION = ("ce_specversion", b"1.0")
_OUR_SOURCE = ("ce_source", SOURCE.encode())


def cloudevent_headers(
    *,
    event_id: str,
    event_type: str,
    time_ms: int,
    task_id: str,
    tenant_id: str | None = None,
    task_type: str | None = None,
    step: str | None = None,
    trace: Mapping[str, str] | None = None,
    source: str = SOURCE,
) -> Headers:
    """Build the headers of a record that we publish.

    Args:
        event_id: unique within ``source``; the same for a record that is sent again.
        event_type: e.g. ``orchestrator.v1.StepCommand``.
        time_ms: the time of the event, Unix milliseconds, UTC.
        task_id: the subject.
        tenant_id: the tenant that pays, if the record has it.
        task_type: the pipeline, if the writer knows it.
        step: the step, in step topics and results.
        trace: ``traceparent`` (and ``tracestate``) of the current span.
        source: the writer of the record; upstream services name themselves.
    """
    headers: Headers = [
        _SPECVERSION,
        ("ce_id", event_id.encode()),
        ("ce_type", event_type.encode()),
        _OUR_SOURCE if source == SOURCE else ("ce_source", source.encode()),
        ("ce_time", _rfc3339(time_ms)),
        ("ce_subject", task_id.encode()),
    ]
    if tenant_id is not None:
        headers.append(("ce_tenantid", tenant_id.encode()))
    if task_type is not None:
        headers.append(("ce_tasktype", task_type.encode()))
    if step is not None:
        headers.append(("ce_step", step.encode()))
    if trace:
        headers += [(name, value.encode()) for name, value in trace.items()]
    return headers


def header_text(headers: Iterable[tuple[str, bytes | None]], name: str) -> str | None:
    """The last value of a header as text; None if it is missing, null or not UTF-8."""
    for key, value in reversed(list(headers)):
        if key == name and value is not None:
            try:
                return value.decode()
            except UnicodeDecodeError:
                return None
    return None


def _rfc3339(time_ms: int) -> bytes:
    seconds, millis = divmod(time_ms, 1000)
    return b"%b.%03dZ" % (_second(seconds), millis)


# Formatting a date costs as much as all other headers together, and most records of a second
# are written within it. A few seconds would be enough; retries and replays add older ones.
@lru_cache(maxsize=256)
def _second(seconds: int) -> bytes:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}".encode()
