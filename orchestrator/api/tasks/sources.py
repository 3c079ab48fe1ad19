"""A task's history from its sources: Postgres, otherwise the log.

For the service, for ``--direct`` and for the task beside a dead letter: each of them separates the
current life of an id from its former ones, and uses accepted events only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.api.replica.live_task import folded
from orchestrator.api.tasks.history import TaskHistory, history_of_log, history_of_rows
from orchestrator.api.tasks.views.event import EventView, event_view, last_life, stored_event
from schemas.records import TaskEvent, TaskId
from sinks.errors import SinkUnavailableError
from sinks.reads.stored import StoredLog, StoredStep, StoredTask
from streams.history.task_log import TaskLog

ReadLogs = Callable[[TaskId], Awaitable[Sequence[StoredLog]]]
"""Reads the audit trail of a task; may raise ``SinkUnavailableError``."""


class TaskRows(Protocol):
    """The rows of a task in Postgres. Every method may raise ``SinkUnavailableError``."""

    async def steps(self, task_id: TaskId) -> Sequence[StoredStep]:
        """All attempts of all runs."""
        ...

    async def logs(self, task_id: TaskId) -> Sequence[StoredLog]:
        """The audit trail, including former lives of the id."""
        ...


@dataclass(frozen=True, slots=True)
class Timeline:
    """The events of a task's current life, in order."""

    tenant_id: str | None = None
    """The tenant of the task; None without events."""
    events: Sequence[EventView] = ()


async def stored_history(rows: TaskRows, row: StoredTask) -> TaskHistory:
    """A task and its history from its rows; on SinkUnavailableError try again later."""
    return history_of_rows(row, await rows.steps(row.id), last_life(await rows.logs(row.id)))


def logged_history(events: Sequence[TaskEvent]) -> TaskHistory | None:
    """A task and its history from the events that a log still has; None if some are missing."""
    if not events or [event.sequence for event in events] != list(range(1, len(events) + 1)):
        return None
    return history_of_log(folded(None, events), events)


async def timeline(log: TaskLog, task_id: str | None, read_logs: ReadLogs | None) -> Timeline:
    """The events of the task of a dead letter; empty if the task does not exist.

    Args:
        log: on an open reader.
        task_id: the id in the letter.
        read_logs: reads from Postgres; without it, or while Postgres is down, the log is read.

    Raises:
        KafkaUnavailableError: the log could not be read.
    """
    if task_id is None:
        return Timeline()
    if read_logs is not None:
        try:
            return _of_rows(last_life(await read_logs(TaskId(task_id))))
        except SinkUnavailableError:
            pass
    events = await log.remains(TaskId(task_id))
    return Timeline(events[-1].tenant_id if events else None, [event_view(e) for e in events])


def _of_rows(rows: Sequence[StoredLog]) -> Timeline:
    return Timeline(rows[-1].tenant_id if rows else None, [stored_event(r, None) for r in rows])
