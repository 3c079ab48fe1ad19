"""A replica's memory of the logs, as the source of tasks that Postgres may not have."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.api.access.caller import ANY_TENANT
from orchestrator.api.replica.live_task import AcceptedTask, LiveTask
from orchestrator.api.replica.parts import Parts
from orchestrator.api.tasks.finder import RefusedCreation
from schemas.records import TaskEvent, TaskId
from streams.kafka.partitioner import partition_of


class ReplicaSource:
    """The source of the service: see :class:`~orchestrator.api.tasks.finder.TaskSource`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def look(self, task_id: TaskId, tenant_id: str | None) -> LiveTask | AcceptedTask | None:
        """The task in memory."""
        return self._in_memory(task_id, tenant_id)

    async def look_again(
        self, task_id: TaskId, tenant_id: str | None
    ) -> LiveTask | AcceptedTask | RefusedCreation | None:
        """The task in memory after the replica has read the logs up to their ends."""
        parts = self._parts
        await parts.follower.caught_up(task_id, timeout_s=parts.settings.answer_timeout_s)
        if (known := self._in_memory(task_id, tenant_id)) is not None:
            return known
        code = None if tenant_id is None else parts.live.refused(task_id, tenant_id)
        return None if code is None else RefusedCreation(code, "its creation was refused")

    async def may_have_forgotten(self, task_id: TaskId) -> bool:
        """True if the tasks of its partition were forgotten as written, and are not (any more)."""
        parts = self._parts
        parts.live.written(await parts.projection.next_offsets())
        return parts.live.has_gone_back(
            partition_of(task_id.encode(), parts.topics.settings.partitions)
        )

    async def events(self, task_id: TaskId, tenant_id: str | None) -> Sequence[TaskEvent]:
        """The events that the log still has."""
        return await self._parts.log_scan.events(task_id, tenant_id or ANY_TENANT)

    def _in_memory(self, task_id: TaskId, tenant_id: str | None) -> LiveTask | AcceptedTask | None:
        known = self._parts.live.task(task_id) or self._parts.live.accepted(task_id)
        others = known is not None and tenant_id not in (None, known.tenant_id)
        return None if others else known
