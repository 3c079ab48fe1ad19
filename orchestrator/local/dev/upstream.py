"""An upstream service whose producer is instrumented, as the demonstration and tests need one."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider


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
