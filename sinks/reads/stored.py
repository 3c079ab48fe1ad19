"""The rows of the tables as types. JSON documents are text, times have a zone (UTC)."""

from dataclasses import dataclass
from datetime import datetime

from schemas.records import Json, TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTask:
    """A row of ``tasks``."""

    id: TaskId
    type: str
    status: str
    phase: str
    priority: int
    conversation_id: str | None
    user_id: str | None
    tenant_id: str
    input: Json
    output: Json | None
    steps: Json
    """An array with the last attempt of each step, in the pipeline's order."""
    metadata: Json
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    duration_ms: int | None
    """From ``started_at`` to ``completed_at``; None if the task has not ended or never started."""
    deadline_at: datetime
    pipeline: str
    pipeline_version: int
    run: int
    sequence: int
    idempotency_key: str | None
    error_code: str | None
    error_message: str | None
    error_category: str | None
    error_retriable: bool | None
    error_service: str | None
    error_step: str | None
    error_attempt: int | None
    usage_model: str | None
    input_tokens: int
    output_tokens: int
    cost_micros: int
    usage_estimated: bool
    event_partition: int
    event_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedTask:
    """A row of ``tasks`` as lists show it: without its documents."""

    id: TaskId
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


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredStep:
    """A row of ``task_steps``: one attempt."""

    task_id: TaskId
    run: int
    step: str
    attempt: int
    step_index: int
    tenant_id: str
    command_id: str
    service: str
    lane: str | None
    status: str
    input: Json | None
    """The input of the first attempt; all attempts of a step in a run have the same input."""
    output: Json | None
    substeps: Json | None
    error_code: str | None
    error_message: str | None
    error_category: str | None
    error_retriable: bool | None
    error_service: str | None
    usage_model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_micros: int | None
    usage_estimated: bool | None
    worker: str | None
    dispatched_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    next_attempt_at: datetime | None
    duration_ms: int | None
    event_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLog:
    """A row of ``task_execution_logs``: one event."""

    id: int
    task_id: TaskId
    event_type: str
    event_data: Json
    created_at: datetime
    tenant_id: str
    actor: str | None
    log_partition: int
    event_offset: int
