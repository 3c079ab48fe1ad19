"""The history of a task beside its dead letter: from Postgres, else from the log."""

from __future__ import annotations

from typing import Any

from orchestrator.cli.dlq_bench import Workplace
from orchestrator.cli.running import open_reader
from schemas.codec import decode
from schemas.dead_letter import Origin
from schemas.errors import DecodeError
from schemas.records import TaskEvent, TaskId
from sinks.errors import SinkUnavailableError
from streams.partitioner import partition_of


async def timeline(place: Workplace, task_id: str | None) -> list[dict[str, Any]]:
    """One object an event, in order; empty if there is no such task."""
    if task_id is None:
        return []
    if place.settings.postgres.dsn:
        try:
            return await _from_postgres(place, TaskId(task_id))
        except SinkUnavailableError:
            pass
    return await _from_log(place, task_id)


async def _from_postgres(place: Workplace, task_id: TaskId) -> list[dict[str, Any]]:
    async with open_reader(place.settings) as reader:
        logs = await reader.logs(task_id)
    return [
        {"at": entry.created_at.isoformat(), "event": entry.event_type, "by": entry.actor}
        for entry in logs
    ]


async def _from_log(place: Workplace, task_id: str) -> list[dict[str, Any]]:
    topic = place.topics.task_events
    partition = partition_of(task_id.encode(), place.settings.topics.partitions)
    first, end = await place.reader.bounds(topic, partition)
    found = []
    async for records in place.reader.read(topic, partition, first, end):
        found += [event for record in records if (event := _event(record, task_id)) is not None]
    return found


def _event(record: Origin, task_id: str) -> dict[str, Any] | None:
    if record.key != task_id.encode():
        return None
    try:
        event = decode(record.value, TaskEvent)
    except DecodeError:
        return None
    return {
        "at": event.occurred_at,
        "event": event.kind.value,
        "by": event.actor,
        "run": event.run,
        "status": event.status.value,
        "code": event.error.code if event.error else None,
    }
