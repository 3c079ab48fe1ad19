"""Traces of a process, exported by OTLP.

Our own producer writes whole batches, which no instrumentation supports: ``streams.tracing``
writes the trace into headers itself. Upstream services that use aiokafka's ``send`` use
``opentelemetry-instrumentation-aiokafka``, as the demonstration does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased


@dataclass(frozen=True, slots=True, kw_only=True)
class TracesSettings:
    """``ORCH_TRACES_<FIELD>``."""

    endpoint: str = ""
    """Base URL of an OTLP/HTTP receiver, such as ``http://127.0.0.1:4318``. Empty: no spans are
    made, and the trace of a record is passed on unchanged."""

    sample_ratio: float = 1.0
    """Share of the traces that begin here, 0 to 1. A trace that begins upstream is followed if
    it is sampled there."""

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

    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: f"ai-orchestrator-{role}"}),
        sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
    )
    exporter = OTLPSpanExporter(endpoint=f"{settings.endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()


@contextmanager
def traced_upstream() -> Iterator[None]:
    """Act like an instrumented upstream service: each ``send`` carries a trace.

    Only around producers: the same instrumentation also wraps consumers, and raises there on
    a ``traceparent`` that is not UTF-8.
    """
    from opentelemetry.instrumentation.aiokafka import AIOKafkaInstrumentor

    instrumentor = AIOKafkaInstrumentor()
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "upstream-service"}))
    instrumentor.instrument(tracer_provider=provider)
    try:
        yield
    finally:
        instrumentor.uninstrument()
