"""Converts the service's messages to the documents that commands print. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from orchestrator.cli.task.ports import End, PublishedCommand, View
from orchestrator.cli.times import iso
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.records import Json, TaskId
from sinks.reads.stored import ListedTask

_STATUS = "TASK_STATUS_"
_ERROR = ("code", "message", "category", "retriable", "service")
_TERMINAL = frozenset({"completed", "failed", "cancelled"})


def view_of(task: pb.Task, history: pb.TaskHistory) -> View:
    """A task as ``task get`` shows it."""
    plain = ("id", "type", "tenant_id", "phase", "priority", "run", "sequence")
    given = ("conversation_id", "user_id", "pipeline", "pipeline_version")
    times = ("created_at", "updated_at", "started_at", "completed_at", "deadline_at")
    error = _error(task, *_ERROR, "step", "attempt")
    return {
        **{name: getattr(task, name) for name in plain},
        "status": _status(task.status),
        **{name: _given(task, name) for name in given},
        "idempotency_key": _given(history, "request_id"),
        **{name: iso(_time(task, name)) for name in times},
        "duration_ms": _given(task, "duration_ms"),
        "input": _json(task.input),
        "output": _json(task.output) if task.HasField("output") else None,
        "metadata": _json(task.metadata),
        "error": error,
        "usage": _usage(task),
        "attempts": [_attempt(attempt) for attempt in history.attempts],
        "timeline": [line_of(event) for event in history.events],
        "source": history.source,
    }


def explanation_of(found: pb.ExplainTaskResponse) -> View:
    """Why a task is where it is, as ``task explain`` shows it."""
    given = ("mover", "step", "attempt", "service", "lane", "worker", "records_before", "members")
    return {
        "task_id": found.task_id,
        "status": _status(found.status),
        "phase": found.phase,
        "reason": found.reason,
        "text": found.text,
        "since": iso(_time(found, "since")),
        "due_at": iso(_time(found, "due_at")),
        **{name: _given(found, name) for name in given},
        "remarks": [{"code": remark.code, "text": remark.text} for remark in found.remarks],
    }


def line_of(event: pb.TaskEvent) -> View:
    """An event as ``task watch`` and the timeline show it."""
    name, attempt = _step_of(event)
    error = event.error if event.HasField("error") else event.step.error
    return {
        "sequence": event.sequence,
        "at": iso(_time(event, "occurred_at")),
        "kind": event.kind,
        "status": _status(event.status),
        "phase": event.phase,
        "run": event.run,
        "priority": event.priority,
        "step": name,
        "attempt": attempt,
        "error": error.code or None,
        "actor": _given(event, "actor"),
        "reason": _given(event, "reason"),
    }


def end_of(event: pb.TaskEvent) -> End:
    """The event that ended a task."""
    error = (event.error.code, event.error.message) if event.HasField("error") else None
    output = Json(event.output) if event.HasField("output") else None
    return End(line=line_of(event), output=output, error=error)


def published_of(receipt: pb.Receipt) -> PublishedCommand:
    """A published command."""
    return PublishedCommand(
        command_id=receipt.command_id,
        topic=receipt.topic,
        partition=receipt.partition,
        offset=receipt.offset,
        answer=line_of(receipt.answer) if receipt.HasField("answer") else None,
    )


def listed_of(task: pb.Task) -> ListedTask:
    """A task of a list."""
    created_at, updated_at = _time(task, "created_at"), _time(task, "updated_at")
    if created_at is None or updated_at is None:
        raise ValueError(f"the service lists {task.id} without its times")
    return ListedTask(
        id=TaskId(task.id),
        type=task.type,
        status=_status(task.status),
        phase=task.phase,
        priority=task.priority,
        conversation_id=_given(task, "conversation_id"),
        user_id=_given(task, "user_id"),
        tenant_id=task.tenant_id,
        created_at=created_at,
        updated_at=updated_at,
        started_at=_time(task, "started_at"),
        completed_at=_time(task, "completed_at"),
        duration_ms=_given(task, "duration_ms"),
        run=task.run,
        error_code=task.error.code or None,
        input_tokens=task.usage.input_tokens,
        output_tokens=task.usage.output_tokens,
        cost_micros=task.usage.cost_micros,
    )


def status_number(status: str | None) -> pb.TaskStatus.ValueType:
    """The status that filters a list; None: any status."""
    return pb.TaskStatus.Value(f"{_STATUS}{(status or 'unspecified').upper()}")


def has_ended(task: pb.Task) -> bool:
    """True if only a retry can continue the task."""
    return _status(task.status) in _TERMINAL


def _attempt(attempt: pb.Attempt) -> View:
    step = attempt.step
    return {
        "run": step.run,
        "step": step.name,
        "attempt": step.attempt,
        "status": step.status,
        "service": step.service,
        "lane": _given(attempt, "lane"),
        "worker": _given(attempt, "worker"),
        "command_id": step.id,
        "dispatched_at": iso(_time(attempt, "dispatched_at")),
        "started_at": iso(_time(step, "started_at")),
        "completed_at": iso(_time(step, "completed_at")),
        "next_attempt_at": iso(_time(attempt, "next_attempt_at")),
        "duration_ms": _given(step, "duration_ms"),
        "input": _json(step.input),
        "output": _json(step.output) if step.HasField("output") else None,
        "substeps": _json(step.substeps) or [],
        "error": _error(step, *_ERROR),
        "usage": _usage(step) if step.HasField("usage") else None,
    }


def _step_of(event: pb.TaskEvent) -> tuple[str | None, int | None]:
    sent: Sequence[pb.DispatchedStep] = event.dispatched
    if event.HasField("step"):
        return event.step.name, event.step.attempt
    return (sent[0].name, sent[0].attempt) if sent else (None, None)


def _error(holder: pb.Task | pb.TaskStep, *names: str) -> View | None:
    if not holder.HasField("error"):
        return None
    optional = {"service", "step", "attempt"}
    error = holder.error
    return {n: _given(error, n) if n in optional else getattr(error, n) for n in names}


def _usage(holder: pb.Task | pb.TaskStep) -> View:
    usage = holder.usage
    names = ("input_tokens", "output_tokens", "cost_micros", "estimated")
    return {"model": _given(usage, "model"), **{name: getattr(usage, name) for name in names}}


def _given(message: Message, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


def _time(message: Message, name: str) -> datetime | None:
    if not message.HasField(name):
        return None
    stamp: Timestamp = getattr(message, name)
    return stamp.ToDatetime(tzinfo=UTC)


def _status(number: int) -> str:
    try:
        return pb.TaskStatus.Name(pb.TaskStatus.ValueType(number)).removeprefix(_STATUS).lower()
    except ValueError:
        return f"status {number}"  # of a newer service


def _json(text: str) -> Any:
    return msgspec.json.decode(text) if text else None
