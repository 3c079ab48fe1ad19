"""The use case that returns a task's whole history."""

from __future__ import annotations

from orchestrator.api.access.caller import Caller
from orchestrator.api.errors import unavailable
from orchestrator.api.replica.live_task import AcceptedTask, LiveTask
from orchestrator.api.replica.parts import Parts
from orchestrator.api.tasks.history import (
    TaskHistory,
    history_of_log,
    history_of_wish,
)
from orchestrator.api.tasks.queries import TaskQueries
from orchestrator.api.tasks.sources import logged_history, stored_history
from sinks.errors import SinkUnavailableError
from sinks.reads.stored import StoredTask
from streams.errors import KafkaUnavailableError


class TaskHistories:
    """Reads histories of a caller's tenant: from memory, from Postgres, or from the log itself."""

    def __init__(self, parts: Parts, queries: TaskQueries) -> None:
        self._parts = parts
        self._queries = queries

    async def history(self, caller: Caller, task_id: str, min_sequence: int = 0) -> TaskHistory:
        """A task with its whole history.

        Raises:
            ApiError: NOT_FOUND, also for a task of another tenant; UNAVAILABLE if a part of
                cannot be read now, or ``min_sequence`` was not seen in time.
        """
        if min_sequence > 0:
            await self._queries.get(caller, task_id, min_sequence)
        match await self._queries.find(caller, task_id):
            case AcceptedTask() as accepted:
                return history_of_wish(accepted.record())
            case StoredTask() as row:
                return await self._stored(row)
            case LiveTask() as live if live.whole:
                return history_of_log(live.folded(), live.events(0))
            case LiveTask() as live:
                return await self._from_elsewhere(live)

    async def _stored(self, row: StoredTask) -> TaskHistory:
        try:
            return await stored_history(self._parts.projection, row)
        except SinkUnavailableError as error:
            raise unavailable("Postgres does not answer") from error

    async def _from_elsewhere(self, live: LiveTask) -> TaskHistory:
        """The history of a task whose first events are not in memory."""
        sequence = live.sequence
        try:
            row = await self._parts.projection.task(live.task_id)
            if row is not None and row.sequence >= sequence:
                return await self._stored(row)
        except SinkUnavailableError:
            pass
        message = "a part of this task's history cannot be read now"
        try:
            events = await self._parts.log_scan.events(live.task_id)
        except KafkaUnavailableError as error:
            raise unavailable(message) from error
        if (found := logged_history(events)) is None:
            raise unavailable(message)
        return found
