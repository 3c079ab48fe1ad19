"""The use case that returns a task's whole history."""

from __future__ import annotations

from orchestrator.api.access.caller import Caller
from orchestrator.api.errors import unavailable
from orchestrator.api.limits.slots import TenantSlots
from orchestrator.api.replica.live_task import AcceptedTask, LiveTask
from orchestrator.api.tasks.errors import TaskExpiredError
from orchestrator.api.tasks.history import TaskHistory
from orchestrator.api.tasks.queries import TaskQueries
from sinks.errors import SinkUnavailableError
from streams.errors import KafkaUnavailableError


class TaskHistories:
    """Reads histories of a caller's tenant: from memory, from Postgres, or from the log itself."""

    def __init__(self, queries: TaskQueries, reads: TenantSlots) -> None:
        self._queries = queries
        self._reads = reads

    async def history(self, caller: Caller, task_id: str, min_sequence: int = 0) -> TaskHistory:
        """A task with its whole history.

        Raises:
            ApiError: NOT_FOUND, also for a task of another tenant; WORK_LIMITED: the tenant reads
                too many histories and pages; UNAVAILABLE if a part of it cannot be
                read now, or ``min_sequence`` was not seen in time.
        """
        if min_sequence > 0:
            await self._queries.get(caller, task_id, min_sequence)
        known = await self._queries.find(caller, task_id)
        try:
            if isinstance(known, AcceptedTask) or (isinstance(known, LiveTask) and known.whole):
                return await self._queries.finder.history(known)
            async with self._reads.of(caller.tenant_id):
                return await self._queries.finder.history(known, caller.tenant_id)
        except SinkUnavailableError as error:
            raise unavailable("Postgres does not answer") from error
        except (KafkaUnavailableError, TaskExpiredError) as error:
            raise unavailable("a part of this task's history cannot be read now") from error
