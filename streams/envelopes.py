"""Our records as Kafka records: topic, partition, key, encoded value and headers. Pure."""

from collections.abc import Mapping

from schemas.codec import encode
from schemas.headers import Headers, cloudevent_headers
from schemas.records import (
    Control,
    Lane,
    Record,
    StepCommand,
    StepResult,
    StreamChunk,
    TaskCommand,
    TaskCreated,
    TaskEvent,
)
from schemas.topics import Topics
from streams.kafka.publisher import Outgoing

Trace = Mapping[str, str]

_CONTROL_PARTITION = 0


def created_record(
    topics: Topics, partition: int, task: TaskCreated, source: str, trace: Trace
) -> Outgoing:
    """A request for a task, for task-created; ``source`` names the requester, as in CloudEvents."""
    headers = cloudevent_headers(
        event_id=task.task_id,
        event_type=type_name(type(task)),
        time_ms=task.created_at,
        task_id=task.task_id,
        tenant_id=task.tenant_id,
        task_type=task.type,
        source=source,
        trace=trace,
    )
    return _outgoing(topics.task_created, partition, task.task_id, task, headers)


def task_command_record(
    topics: Topics, partition: int, command: TaskCommand, source: str, trace: Trace
) -> Outgoing:
    """A command about a task, for the task's owner."""
    headers = cloudevent_headers(
        event_id=command.command_id,
        event_type=type_name(type(command), command.kind),
        time_ms=command.issued_at,
        task_id=command.task_id,
        tenant_id=command.tenant_id,
        source=source,
        trace=trace,
    )
    return _outgoing(topics.task_commands, partition, command.task_id, command, headers)


def event_record(topics: Topics, partition: int, event: TaskEvent, trace: Trace) -> Outgoing:
    """An event of a task, for the log."""
    headers = cloudevent_headers(
        event_id=event.event_id,
        event_type=type_name(type(event), event.kind),
        time_ms=event.occurred_at,
        task_id=event.task_id,
        tenant_id=event.tenant_id,
        task_type=event.task.type if event.task else None,
        step=event.step.name if event.step else None,
        trace=trace,
    )
    return _outgoing(topics.task_events, partition, event.task_id, event, headers)


def command_record(
    topics: Topics, partition: int, command: StepCommand, lane: Lane, trace: Trace
) -> Outgoing:
    """A command to run a step, for the step's lane."""
    headers = cloudevent_headers(
        event_id=command.command_id,
        event_type=type_name(type(command)),
        time_ms=command.dispatched_at,
        task_id=command.task_id,
        tenant_id=command.tenant_id,
        task_type=command.pipeline,
        step=command.step,
        trace=trace,
    )
    topic = topics.step(command.step, lane)
    return _outgoing(topic, partition, command.task_id, command, headers)


def result_record(topics: Topics, partition: int, result: StepResult, trace: Trace) -> Outgoing:
    """The result of an attempt, for the owner of its task."""
    headers = cloudevent_headers(
        event_id=f"{result.command_id}/{result.kind}",
        event_type=type_name(type(result), result.kind),
        time_ms=result.completed_at or result.started_at,
        task_id=result.task_id,
        tenant_id=result.tenant_id,
        step=result.step,
        trace=trace,
    )
    return _outgoing(topics.step_results, partition, result.task_id, result, headers)


def control_record(topics: Topics, control: Control, trace: Trace) -> Outgoing:
    """A broadcast to all step workers."""
    headers = cloudevent_headers(
        event_id=f"{control.task_id}/{control.run}/{control.kind}",
        event_type=type_name(type(control), control.kind),
        time_ms=control.at,
        task_id=control.task_id,
        trace=trace,
    )
    return _outgoing(topics.control, _CONTROL_PARTITION, control.task_id, control, headers)


def chunk_record(topics: Topics, partition: int, chunk: StreamChunk) -> Outgoing:
    """A piece of an answer, for the clients that watch its task."""
    headers = cloudevent_headers(
        event_id=f"{chunk.task_id}/{chunk.run}/{chunk.step}/{chunk.attempt}/{chunk.index}",
        event_type=type_name(type(chunk), chunk.kind),
        time_ms=chunk.at,
        task_id=chunk.task_id,
        step=chunk.step,
    )
    return _outgoing(topics.stream, partition, chunk.task_id, chunk, headers)


def _outgoing(topic: str, partition: int, key: str, record: Record, headers: Headers) -> Outgoing:
    return Outgoing(
        topic=topic,
        partition=partition,
        key=key.encode() or None,
        value=encode(record),
        headers=headers,
    )


def type_name(record: type[Record], kind: str | None = None) -> str:
    """What ``ce_type`` says of a record, for each kind of it that there is."""
    name = f"orchestrator.v1.{record.__name__}"
    return f"{name}.{kind}" if kind else name
