"""The answers about tasks, in one form for HTTP and gRPC.

Documents are raw JSON: they pass through as they are. Times have a zone (UTC).
"""

from datetime import date, datetime
from typing import Literal

from msgspec import UNSET, Raw, Struct, UnsetType, field

Status = Literal["pending", "running", "completed", "failed", "cancelled"]


class View(Struct, frozen=True, kw_only=True):
    """Base of all answers."""


class ErrorView(View, frozen=True, kw_only=True):
    """Why a task or a step failed; ``code`` is stable."""

    code: str
    message: str
    category: str
    retriable: bool
    service: str | None = None
    step: str | None = None
    attempt: int | None = None


class UsageView(View, frozen=True, kw_only=True):
    """What calls consumed; ``cost_micros`` is integer micro-USD."""

    model: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0
    estimated: bool = False


class StepView(View, frozen=True, kw_only=True):
    """The last attempt of a step."""

    id: str
    name: str
    service: str
    run: int
    attempt: int
    status: str
    input: Raw | None = None
    output: Raw | None = None
    error: ErrorView | None = None
    usage: UsageView | None = None
    substeps: Raw = field(default_factory=lambda: Raw(b"[]"))
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_ms: int | None = None


class TaskView(View, frozen=True, kw_only=True):
    """A task with its documents and steps."""

    id: str
    type: str
    status: Status
    phase: str
    priority: int
    conversation_id: str | None
    user_id: str | None
    tenant_id: str
    input: Raw
    output: Raw | None = None
    steps: list[StepView] = field(default_factory=list)
    metadata: Raw = field(default_factory=lambda: Raw(b"{}"))
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_ms: int | None = None
    deadline_at: datetime | None = None
    """None while its owner has not read it (phase ``accepted``)."""
    error: ErrorView | None = None
    usage: UsageView = field(default_factory=UsageView)
    sequence: int
    """Sequence of its last event; 0 while only the broker has the task."""
    run: int = 1
    pipeline: str | None = None
    pipeline_version: int | None = None


class TaskAnswer(View, frozen=True, kw_only=True):
    """A task, and whether a create named an existing one."""

    task: TaskView
    replayed: bool = False


class BatchAnswer(View, frozen=True, kw_only=True):
    """The tasks of a batch, in the order of the request."""

    tasks: list[TaskAnswer]


class ReleasedAnswer(View, frozen=True, kw_only=True):
    """The held tasks that were released, in the order of their release."""

    task_ids: list[str]


class TaskSummary(View, frozen=True, kw_only=True):
    """A task as lists show it: without its documents and steps."""

    id: str
    type: str
    status: str
    phase: str
    priority: int
    conversation_id: str | None
    user_id: str | None
    tenant_id: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    duration_ms: int | None
    run: int
    error_code: str | None
    input_tokens: int
    output_tokens: int
    cost_micros: int


class TaskPage(View, frozen=True, kw_only=True):
    """A page of tasks; ``next_page_token`` is null after the last one."""

    tasks: list[TaskSummary]
    next_page_token: str | None = None


class LogView(View, frozen=True, kw_only=True):
    """An entry of the audit trail."""

    id: int
    event_type: str
    event_data: Raw
    created_at: datetime
    actor: str | None


class LogPage(View, frozen=True, kw_only=True):
    """A page of an audit trail."""

    logs: list[LogView]
    next_page_token: str | None = None


class UsageGroup(View, frozen=True, kw_only=True):
    """One group of usage: a dimension that was not requested is null."""

    model: str | None
    type: str | None
    day: date | None
    status: str | None
    tasks: int
    calls: int
    input_tokens: int
    output_tokens: int
    cost_micros: int
    wasted_calls: int
    wasted_input_tokens: int
    wasted_output_tokens: int
    wasted_cost_micros: int


class UsageAnswer(View, frozen=True, kw_only=True):
    """Usage in the requested groups."""

    groups: list[UsageGroup]


class StepEventView(View, frozen=True, kw_only=True):
    """The attempt that an event is about."""

    name: str
    service: str
    attempt: int
    status: str
    error: ErrorView | None = None
    usage: UsageView | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    next_attempt_at: datetime | None = None


class DispatchedView(View, frozen=True, kw_only=True):
    """An attempt that follows from an event."""

    name: str
    service: str
    attempt: int


class EventView(View, frozen=True, kw_only=True, tag="event"):
    """One event of a task; ``sequence`` has no gaps. Steps' documents are in the task."""

    task_id: str
    sequence: int
    kind: str
    run: int
    status: Status
    phase: str
    priority: int
    occurred_at: datetime
    step: StepEventView | None = None
    output: Raw | None = None
    """Only in ``completed``: the output of the task."""
    error: ErrorView | None = None
    usage: UsageView | None = None
    actor: str | None = None
    reason: str | None = None
    dispatched: list[DispatchedView] = field(default_factory=list)


class ChunkView(View, frozen=True, kw_only=True, tag="chunk"):
    """A part of a growing answer, or progress: best effort, without a sequence."""

    task_id: str
    run: int
    step: str
    attempt: int
    index: int
    kind: str
    data: str


class LaggedView(View, frozen=True, kw_only=True, tag="lagged"):
    """The reader was too slow: this number of chunks was dropped. Events are never dropped."""

    task_id: str
    chunks: int


class HeartbeatView(View, frozen=True, kw_only=True, tag="heartbeat"):
    """Nothing happened for a while; the stream is still open."""

    task_id: str


StreamItem = EventView | ChunkView | LaggedView | HeartbeatView
"""The items of a stream, the same over SSE, WebSocket and gRPC."""


class ProblemField(View, frozen=True, kw_only=True):
    """A field of the request that is wrong."""

    name: str
    message: str


class Problem(View, frozen=True, kw_only=True):
    """An error (RFC 9457, ``application/problem+json``); ``code`` is stable."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[ProblemField] | UnsetType = UNSET
    retry_after_s: float | UnsetType = UNSET
    task_id: str | UnsetType = UNSET
