"""The rows of one batch: their fields are the columns, and members of the JSON that is sent.

The statements derive their lists of columns from these types (:mod:`sinks.row_sql`). Times are
Unix milliseconds, JSON documents are text.
"""

from typing import Annotated, Any

from msgspec import Struct

from schemas.records import Error, Json, Millis, TaskId, Usage
from sinks.row_sql import Integer, SqlType


class PositionRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a partition of ``task-events`` is written with this batch."""

    log_partition: Integer
    next_offset: int
    epoch: int
    owner: str
    expected_offset: int | None = None
    """The offset where the position has to be; None if there has to be none."""


class TaskRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task whose life or run begins in this batch: the whole row."""

    id: TaskId
    type: str
    status: str
    phase: str
    priority: Integer
    conversation_id: str | None = None
    user_id: str | None = None
    tenant_id: str
    input: Json
    output: Json | None = None
    metadata: Json
    created_at: Millis
    updated_at: Millis
    started_at: Millis | None = None
    completed_at: Millis | None = None
    deadline_at: Millis
    pipeline: str
    pipeline_version: Integer
    run: Integer
    sequence: int
    idempotency_key: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    error_category: str | None = None
    error_retriable: bool | None = None
    error_service: str | None = None
    error_step: str | None = None
    error_attempt: Integer | None = None
    usage_model: str | None = None
    input_tokens: int
    output_tokens: int
    cost_micros: int
    usage_estimated: bool
    event_partition: Integer
    event_offset: int
    born_offset: Annotated[int | None, SqlType("bigint", stored=False)] = None
    """Offset of the ``created`` event; None if only a run begins in this batch."""


class ChangeRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The changes in a batch to a task that began before it."""

    id: TaskId
    status: str | None = None
    """None keeps the row's status: the event has a status that this version does not know."""
    phase: str
    priority: Integer
    output: Json | None = None
    run: Integer
    """The run of the row, too: a run begins with a TaskRow."""
    steps_changed: bool
    updated_at: Millis
    started_at: Millis | None = None
    """Used only if the row has no value: the first start in the run."""
    completed_at: Millis | None = None
    sequence: int
    error_code: str | None = None
    error_message: str | None = None
    error_category: str | None = None
    error_retriable: bool | None = None
    error_service: str | None = None
    error_step: str | None = None
    error_attempt: Integer | None = None
    usage_model: str | None = None
    input_tokens: int | None = None
    """None keeps the row's usage, all of it."""
    output_tokens: int | None = None
    cost_micros: int | None = None
    usage_estimated: bool | None = None
    event_offset: int


class RefusalRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task whose only events in a batch are refused commands: nothing else changes."""

    id: TaskId
    sequence: int
    event_offset: int


class StepRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The changes in a batch to one attempt; None keeps the value of the row."""

    task_id: TaskId
    run: Integer
    step: str
    attempt: Integer
    step_index: Integer
    tenant_id: str
    command_id: str
    service: str
    lane: str | None = None
    status: str
    input: Json | None = None
    output: Json | None = None
    substeps: Json | None = None
    error_code: str | None = None
    error_message: str | None = None
    error_category: str | None = None
    error_retriable: bool | None = None
    error_service: str | None = None
    usage_model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_micros: int | None = None
    usage_estimated: bool | None = None
    worker: str | None = None
    dispatched_at: Millis | None = None
    """Used only if the row has no value: a command may move to another lane."""
    started_at: Millis | None = None
    completed_at: Millis | None = None
    next_attempt_at: Millis | None = None
    event_offset: int


class LogRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event in the audit trail."""

    task_id: TaskId
    event_type: str
    event_data: Json
    created_at: Millis
    tenant_id: str
    actor: str | None = None
    log_partition: Integer
    event_offset: int


def error_columns(error: Error | None) -> dict[str, Any]:
    """The columns in which a row holds its error; all None without an error."""
    return {
        "error_code": None if error is None else error.code,
        "error_message": None if error is None else error.message,
        "error_category": None if error is None else error.category.value,
        "error_retriable": None if error is None else error.retriable,
        "error_service": None if error is None else error.service,
    }


def usage_columns(usage: Usage | None) -> dict[str, Any]:
    """The columns in which a row holds its usage; all None without usage."""
    return {
        "usage_model": None if usage is None else usage.model,
        "input_tokens": None if usage is None else usage.input_tokens,
        "output_tokens": None if usage is None else usage.output_tokens,
        "cost_micros": None if usage is None else usage.cost_micros,
        "usage_estimated": None if usage is None else usage.estimated,
    }
