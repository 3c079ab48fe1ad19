"""A service as the step worker sees it over any transport: a request and an answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from schemas.records import CommandId, Json, StepName, SubStep, TaskId, Usage

OnSpent = Callable[[SubStep], None]
"""Takes a call of a model that has no answer, with what it consumed. Must return at once and must
not raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRequest:
    """One attempt of one step."""

    method: str
    """The method of the service, as the pipeline names it."""
    input: Json
    task_id: TaskId
    run: int
    step: StepName
    attempt: int
    """From 1 within a run."""
    tenant_id: str
    conversation_id: str | None = None
    idempotency_key: CommandId
    """The same key means the same attempt: a service that has effects must check it."""
    timeout_s: float
    """From now until the answer is useless; at 0 or less the call fails at once and is not made."""
    whole_time: bool = True
    """Whether that is the time that the pipeline gives the step. Less is the choice of who created
    the task, and a timeout then says nothing about the service."""
    trace: Mapping[str, str] = field(default_factory=dict)
    """Trace headers to pass on (``traceparent``, ``tracestate``). A header that cannot be sent as
    metadata is left out: a broken trace must not fail a step."""
    on_spent: OnSpent | None = None
    """Called for each call that was made for this attempt and is not its answer, also if the
    attempt is cancelled: such as that of a model which was followed by the next one. Only models
    report this; a service reports its usage with its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResponse:
    """The answer of the service.

    ``output``, and ``input`` and ``output`` of a substep, are the service's text unchanged: the
    caller checks that it is JSON, small enough and storable. Every other text is one printable
    line; counts are 0 to 10**15, times within the years 1970 to 9999.
    """

    output: Json
    usage: Usage | None = None
    substeps: list[SubStep] = field(default_factory=list)


OnChunk = Callable[[str], None]
"""Takes the next piece of a growing answer, on the event loop of the call. The pieces are only
for watchers: the response is complete without them. Must return at once and must not raise."""


class StepClient(Protocol):
    """One service. Safe to use from many asyncio tasks of one event loop at a time."""

    async def call(self, request: StepRequest, *, on_chunk: OnChunk | None = None) -> StepResponse:
        """Run one attempt. Calls the service at most once: retries belong to the router.

        Args:
            request: the attempt.
            on_chunk: gets the answer piece by piece, if the service can stream and the
                transport is gRPC; otherwise it is not called. None: do not stream.

        Raises:
            ServiceError: the call failed, or was not made; its fields say what the caller
                may do. A failure of the service raises no other error.
            asyncio.CancelledError: the calling asyncio task was cancelled, and the call is
                being aborted at the service too. Not raised for any other reason.
        """
        ...

    async def close(self) -> None:
        """Give up the connection. Calls in flight fail as ``SERVICE_UNAVAILABLE``; idempotent."""
        ...
