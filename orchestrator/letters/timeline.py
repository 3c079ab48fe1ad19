"""The history of a task beside its dead letter: from Postgres, otherwise from the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.letters.connections import LetterConnections
from schemas.records import TaskEvent, TaskId
from sinks.errors import SinkUnavailableError
from sinks.reads.stored import StoredLog
from streams.history.task_log import TaskLog

ReadLogs = Callable[[TaskId], Awaitable[Sequence[StoredLog]]]
"""Reads the audit trail of a task; may raise ``SinkUnavailableError``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """An event of a task. From Postgres it may lack the run, the status and the code."""

    at: datetime
    event: str
    actor: str | None
    tenant_id: str
    run: int | None = None
    status: str | None = None
    code: str | None = None


async def timeline(
    connections: LetterConnections, task_id: str | None, read_logs: ReadLogs | None
) -> list[Happening]:
    """The events of a task, in order; empty if the task does not exist.

    Args:
        connections: open.
        task_id: of the letter.
        read_logs: reads them from Postgres; None reads the log at once.
    """
    if task_id is None:
        return []
    if read_logs is not None:
        try:
            return [_stored(entry) for entry in await read_logs(TaskId(task_id))]
        except SinkUnavailableError:
            pass
    return await _from_log(connections, task_id)


def _stored(entry: StoredLog) -> Happening:
    return Happening(
        at=entry.created_at, event=entry.event_type, actor=entry.actor, tenant_id=entry.tenant_id
    )


async def _from_log(connections: LetterConnections, task_id: str) -> list[Happening]:
    """The accepted events: events of a former owner are not part of the history."""
    events = await TaskLog(connections.reader, connections.topics).remains(TaskId(task_id))
    return [_happening(event) for event in events]


def _happening(event: TaskEvent) -> Happening:
    return Happening(
        at=datetime.fromtimestamp(event.occurred_at / 1000, UTC),
        event=event.kind.value,
        actor=event.actor,
        tenant_id=event.tenant_id,
        run=event.run,
        status=event.status.value,
        code=event.error.code if event.error else None,
    )
