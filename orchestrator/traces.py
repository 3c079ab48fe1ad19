"""Traces of a process, exported by OTLP.

Our own producer writes whole batches, which no instrumentation supports: ``streams.tracing``
writes the trace into headers itself. Upstream services that use aiokafka's ``send`` use
``opentelemetry-instrumentation-aiokafka``, as the demonstration does
(:mod:`orchestrator.local.dev.upstream`).
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link

from orchestrator.error_spans import error_exporter
from streams.tracing import begin_export

log = structlog.get_logger()

_EXPORT_TIMEOUT_S = 5.0
"""For one request, with its retries; at the end of a process also the wait for the last one."""
_END_S = 1.0
"""For the end of the exporter beside its last request."""
_QUEUE_MAX = 8192
"""Spans that wait for a receiver that is slow or down; further ones are dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracesSettings:
    """``ORCH_TRACES_<FIELD>``."""

    endpoint: str = ""
    """Base URL of an OTLP/HTTP receiver, such as ``http://127.0.0.1:4318``. Empty: no spans are
    made, and the trace of a record is passed on unchanged."""

    sample_ratio: float = 1.0
    """Share of the traces that begin here, 0 to 1. A trace that begins upstream is followed if
    it is sampled there. Spans that fail are always exported."""

    def __post_init__(self) -> None:
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"endpoint is {self.endpoint!r}; it must be an http(s) URL")
        if not 0 <= self.sample_ratio <= 1:
            raise ValueError(f"sample_ratio is {self.sample_ratio}; it must be 0 to 1")


@contextmanager
def exported_traces(settings: TracesSettings, *, role: str) -> Iterator[None]:
    """Export the spans of this process inside the block; the remaining ones are sent at the end.

    A receiver that is down costs spans and log lines, never a task.
    """
    if not settings.endpoint:
        yield
        return
    # Imported only here: most processes export nothing, and all of them read the settings above.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    resource = Resource.create({SERVICE_NAME: f"ai-orchestrator-{role}"})
    # ``streams.tracing`` decides what is sampled, and asks only for spans that are.
    provider = TracerProvider(resource=resource, sampler=ALWAYS_ON, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(
        endpoint=f"{settings.endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_TIMEOUT_S
    )
    processor = BatchSpanProcessor(exporter, max_queue_size=_QUEUE_MAX)
    provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    begin_export(_sampling(settings.sample_ratio), error_exporter(resource, processor.on_end))
    try:
        yield
    finally:
        _shut_down(provider)


def _shut_down(provider: TracerProvider) -> None:
    """Send the remaining spans, within a bound.

    The timeout of a request is one for each read: a receiver that answers a byte a second would
    keep the process from its end for half a minute.
    """
    ending = threading.Thread(target=provider.shutdown, name="traces-end", daemon=True)
    ending.start()
    ending.join(_EXPORT_TIMEOUT_S + _END_S)
    if ending.is_alive():
        log.warning("spans_not_sent", reason="the receiver does not end its answer")


def _sampling(ratio: float) -> Callable[[Sequence[Link]], bool]:
    """Samples a part of the traces that begin here, and all that are linked to a sampled one.

    A batch, or the replay of a dead letter, begins a trace of its own: without this the link would
    lead nowhere.
    """

    def samples(links: Sequence[Link]) -> bool:
        # The decision travels in the flags of the trace, so it need not follow from its id.
        return random.random() < ratio or any(link.context.trace_flags.sampled for link in links)

    return samples
