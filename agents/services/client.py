"""What the step worker sees of a service, whatever the transport: a request, an answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from schemas.records import CommandId, Json, StepName, SubStep, TaskId, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRequest:
    """One attempt of one step."""

    method: str
    """What the service shall do, as the pipeline names it."""
    input: Json
    task_id: TaskId
    run: int
    step: StepName
    attempt: int
    """From 1 within a run."""
    tenant_id: str
    conversation_id: str | None = None
    idempotency_key: CommandId
    """The same key is the same attempt: a service that has effects must look at it."""
    timeout_s: float
    """From now until the answer is worthless; 0 or less fails at once, uncalled."""
    trace: Mapping[str, str] = field(default_factory=dict)
    """Trace headers to pass on (``traceparent``, ``tracestate``). What cannot be sent as
    metadata is left out: a broken trace must not fail a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResponse:
    """What the service answered.

    ``output``, and ``input`` and ``output`` of a substep, are the service's text as it came:
    that it is JSON, small enough and storable is for the caller to check. All other text is
    one printable line; counts are 0 to 10**15, times within the years 1970 to 9999.
    """

    output: Json
    usage: Usage | None = None
    substeps: list[SubStep] = field(default_factory=list)


OnChunk = Callable[[str], None]
"""Takes the next piece of an answer that grows, on the event loop of the call. The pieces are
for whoever watches and never the truth: the response is complete without them. Must return at
once and must not raise."""


class StepClient(Protocol):
    """One service. Safe to use from many asyncio tasks of one event loop at a time."""

    async def call(self, request: StepRequest, *, on_chunk: OnChunk | None = None) -> StepResponse:
        """Run one attempt. Calls the service at most once: retries belong to the router.

        Args:
            request: what to do.
            on_chunk: gets the answer piece by piece, if the service can stream and the
                transport is gRPC; else it is never called. None: do not stream.

        Raises:
            ServiceError: the call failed, or was not made; its fields say what the caller
                may do. Nothing else is raised for a failure of the service.
            asyncio.CancelledError: the calling asyncio task was cancelled, and the call is
                being aborted at the service too. Never raised for another reason.
        """
        ...

    async def close(self) -> None:
        """Give up the connection. Calls in flight fail as ``SERVICE_UNAVAILABLE``; idempotent."""
        ...
