"""Our requests and answers as the messages of ``orchestrator.v1``, and back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import Raw

from orchestrator.api.errors import from_validation, invalid
from orchestrator.api.tasks.requests import (
    Cancel,
    CreateTask,
    Execute,
    ExecutePending,
    GetUsage,
    ListLogs,
    ListTasks,
    Retry,
    SetPriority,
)
from orchestrator.api.tasks.views.event import (
    ChunkView,
    EventView,
    HeartbeatView,
    LaggedView,
    LogPage,
    StepEventView,
    StreamItem,
)
from orchestrator.api.tasks.views.task import StepView, TaskPage, TaskSummary, TaskView
from orchestrator.api.tasks.views.usage import UsageAnswer
from orchestrator.api.tasks.views.view import ErrorView, UsageView
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb

R = TypeVar("R", bound=msgspec.Struct)

# --- requests ---


def create_request(message: pb.CreateTaskRequest) -> CreateTask:
    """The task to be created; raises ``ApiError`` for a wrong field."""
    return checked(
        CreateTask,
        {
            "type": message.type,
            "priority": optional(message, "priority", 5),
            "conversation_id": optional(message, "conversation_id"),
            "user_id": optional(message, "user_id"),
            "hold": message.hold,
            "timeout_ms": optional(message, "timeout_ms"),
            "deadline_at": time_of(message, "deadline_at"),
            "request_id": optional(message, "request_id"),
            "pipeline_version": optional(message, "pipeline_version"),
        },
        input=Raw((message.input or "{}").encode()),
        metadata=Raw((message.metadata or "{}").encode()),
    )


def execute_request(message: pb.ExecuteTaskRequest) -> Execute:
    """The reason why a held task is released."""
    return checked(Execute, {"reason": message.reason or None})


def cancel_request(message: pb.CancelTaskRequest) -> Cancel:
    """The reason why a task is cancelled."""
    return checked(Cancel, {"reason": message.reason or None})


def retry_request(message: pb.RetryTaskRequest) -> Retry:
    """The step at which a new run begins, and the reason."""
    return checked(
        Retry,
        {
            "from_step": optional(message, "from_step"),
            "reason": message.reason or None,
            "run": optional(message, "run"),
        },
    )


def priority_request(message: pb.SetTaskPriorityRequest) -> SetPriority:
    """The new priority."""
    return checked(SetPriority, {"priority": message.priority, "reason": message.reason or None})


def pending_request(message: pb.ExecutePendingTasksRequest) -> ExecutePending:
    """The held tasks to be released."""
    limit = optional(message, "limit", 100)
    return checked(ExecutePending, {"limit": limit, "type": optional(message, "type")})


def list_request(message: pb.ListTasksRequest) -> ListTasks:
    """The filter of a list."""
    return checked(
        ListTasks,
        {
            "status": _status_name(message.status) if message.status else None,
            "type": optional(message, "type"),
            "conversation_id": optional(message, "conversation_id"),
            "since": time_of(message, "since"),
            "until": time_of(message, "until"),
            "order_by": message.order_by or "newest",
            "page_size": optional(message, "page_size", 100),
            "page_token": message.page_token,
        },
    )


def logs_request(message: pb.ListTaskLogsRequest) -> ListLogs:
    """The requested part of an audit trail."""
    size = optional(message, "page_size", 100)
    return checked(ListLogs, {"page_size": size, "page_token": message.page_token})


def usage_request(message: pb.GetUsageRequest) -> GetUsage:
    """The filter and the grouping of usage."""
    return checked(
        GetUsage,
        {
            "by": tuple(message.by),
            "since": time_of(message, "since"),
            "until": time_of(message, "until"),
        },
    )


def seconds(message: Message, field: str) -> float | None:
    """A duration in seconds, at least 0; None if it is not given."""
    if not message.HasField(field):
        return None
    duration: Duration = getattr(message, field)
    return max(0.0, duration.seconds + duration.nanos / 1e9)


def checked(kind: type[R], fields: dict[str, Any], **unchecked: Any) -> R:
    """Check fields as those of a JSON body; documents pass through unchecked."""
    try:
        request = msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise from_validation(error) from None
    return msgspec.structs.replace(request, **unchecked) if unchecked else request


def optional(message: Message, field: str, default: Any = None) -> Any:
    """A field that may be absent."""
    return getattr(message, field) if message.HasField(field) else default


def time_of(message: Message, field: str) -> datetime | None:
    """A time that may be absent; raises ``ApiError`` for a time outside of the calendar."""
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise invalid(field, "no time that a calendar holds") from None


# --- answers ---


def task_message(task: TaskView) -> pb.Task:
    """A task with its documents and steps."""
    return pb.Task(
        id=task.id,
        type=task.type,
        status=status_number(task.status),
        phase=task.phase,
        priority=task.priority,
        conversation_id=task.conversation_id,
        user_id=task.user_id,
        tenant_id=task.tenant_id,
        input=_text(task.input),
        output=_optional_text(task.output),
        metadata=_text(task.metadata),
        steps=[step_message(step) for step in task.steps],
        created_at=stamp(task.created_at),
        updated_at=stamp(task.updated_at),
        started_at=stamp(task.started_at),
        completed_at=stamp(task.completed_at),
        duration_ms=task.duration_ms,
        deadline_at=stamp(task.deadline_at),
        error=_error(task.error),
        usage=_usage(task.usage),
        sequence=task.sequence,
        run=task.run,
        pipeline=task.pipeline,
        pipeline_version=task.pipeline_version,
    )


def list_response(page: TaskPage) -> pb.ListTasksResponse:
    """A page of tasks."""
    tasks = [_listed(task) for task in page.tasks]
    return pb.ListTasksResponse(tasks=tasks, next_page_token=page.next_page_token or "")


def logs_response(page: LogPage) -> pb.ListTaskLogsResponse:
    """A page of an audit trail."""
    logs = [
        pb.TaskLog(
            id=log.id,
            event_type=log.event_type,
            event_data=_text(log.event_data),
            created_at=stamp(log.created_at),
            actor=log.actor,
        )
        for log in page.logs
    ]
    return pb.ListTaskLogsResponse(logs=logs, next_page_token=page.next_page_token or "")


def usage_response(answer: UsageAnswer) -> pb.GetUsageResponse:
    """Usage by groups."""
    groups = []
    for group in answer.groups:
        fields = msgspec.structs.asdict(group)
        day = fields.pop("day")
        groups.append(pb.UsageGroup(day=None if day is None else day.isoformat(), **fields))
    return pb.GetUsageResponse(groups=groups)


def stream_message(item: StreamItem) -> pb.WatchTaskResponse:
    """An item of a stream."""
    match item:
        case EventView():
            return pb.WatchTaskResponse(event=event_message(item))
        case ChunkView():
            return pb.WatchTaskResponse(chunk=pb.Chunk(**msgspec.structs.asdict(item)))
        case LaggedView(chunks=chunks):
            return pb.WatchTaskResponse(lagged=chunks)
        case HeartbeatView():
            return pb.WatchTaskResponse(heartbeat=True)


def event_message(event: EventView) -> pb.TaskEvent:
    """An event of a task."""
    return pb.TaskEvent(
        task_id=event.task_id,
        sequence=event.sequence,
        kind=event.kind,
        run=event.run,
        status=status_number(event.status),
        phase=event.phase,
        priority=event.priority,
        occurred_at=stamp(event.occurred_at),
        step=None if event.step is None else _step_event(event.step),
        output=_optional_text(event.output),
        error=_error(event.error),
        usage=None if event.usage is None else _usage(event.usage),
        actor=event.actor,
        reason=event.reason,
        dispatched=[pb.DispatchedStep(**msgspec.structs.asdict(step)) for step in event.dispatched],
    )


def _step_event(step: StepEventView) -> pb.StepEvent:
    return pb.StepEvent(
        name=step.name,
        service=step.service,
        attempt=step.attempt,
        status=step.status,
        error=_error(step.error),
        usage=None if step.usage is None else _usage(step.usage),
        started_at=stamp(step.started_at),
        completed_at=stamp(step.completed_at),
        next_attempt_at=stamp(step.next_attempt_at),
    )


def step_message(step: StepView) -> pb.TaskStep:
    """An attempt of a step."""
    return pb.TaskStep(
        id=step.id,
        name=step.name,
        service=step.service,
        run=step.run,
        attempt=step.attempt,
        status=step.status,
        input=_optional_text(step.input) or "",
        output=_optional_text(step.output),
        error=_error(step.error),
        usage=None if step.usage is None else _usage(step.usage),
        substeps=_text(step.substeps),
        started_at=stamp(step.started_at),
        completed_at=stamp(step.completed_at),
        duration_ms=step.duration_ms,
    )


def _listed(task: TaskSummary) -> pb.Task:
    error = None if task.error_code is None else pb.Error(code=task.error_code)
    return pb.Task(
        id=task.id,
        type=task.type,
        status=status_number(task.status),
        phase=task.phase,
        priority=task.priority,
        conversation_id=task.conversation_id,
        user_id=task.user_id,
        tenant_id=task.tenant_id,
        created_at=stamp(task.created_at),
        updated_at=stamp(task.updated_at),
        started_at=stamp(task.started_at),
        completed_at=stamp(task.completed_at),
        duration_ms=task.duration_ms,
        error=error,
        usage=pb.Usage(
            input_tokens=task.input_tokens,
            output_tokens=task.output_tokens,
            cost_micros=task.cost_micros,
        ),
        run=task.run,
    )


def _error(error: ErrorView | None) -> pb.Error | None:
    return None if error is None else pb.Error(**msgspec.structs.asdict(error))


def _usage(usage: UsageView) -> pb.Usage:
    return pb.Usage(**msgspec.structs.asdict(usage))


def _text(raw: Raw) -> str:
    return bytes(raw).decode()


def _optional_text(raw: Raw | None) -> str | None:
    return None if raw is None else _text(raw)


def stamp(time: datetime | None) -> Timestamp | None:
    """A timestamp; the microseconds are kept."""
    if time is None:
        return None
    message = Timestamp()
    message.FromDatetime(time)
    return message


_PREFIX = "TASK_STATUS_"


def status_number(status: str) -> pb.TaskStatus.ValueType:
    """The number of a status."""
    return pb.TaskStatus.Value(f"{_PREFIX}{status.upper()}")


def _status_name(number: int) -> str:
    try:
        return pb.TaskStatus.Name(pb.TaskStatus.ValueType(number)).removeprefix(_PREFIX).lower()
    except ValueError:
        raise invalid("status", "no status that we know") from None
