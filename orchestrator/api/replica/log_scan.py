"""Finds a task's history in the log itself: slow, but complete while Postgres is down."""

from __future__ import annotations

import asyncio

from orchestrator.api.limits.slots import TenantSlots
from schemas.records import TaskEvent, TaskId
from schemas.topics import Topics
from streams.errors import KafkaUnavailableError
from streams.history.task_log import TaskLog
from streams.kafka.log_reader import LogReader
from streams.settings import KafkaSettings

_TOGETHER = 4
_OF_A_TENANT = 1
"""Fewer than of all tenants, so that one of them cannot keep the others from reading."""
_WAITING = 10
_TURN_S = 10.0
_BOUND_S = 10.0


class LogScan:
    """Reads one partition from its beginning, one at a time for each tenant and a few for all."""

    def __init__(self, kafka: KafkaSettings, topics: Topics) -> None:
        self._kafka = kafka
        self._topics = topics
        self._slots = TenantSlots(
            "log_scans",
            lambda _: _OF_A_TENANT,
            waiting=_WAITING,
            wait_s=_TURN_S,
            together=_TOGETHER,
        )

    async def events(self, task_id: TaskId, tenant_id: str) -> list[TaskEvent]:
        """The accepted events of a task's current life that the log still has.

        Args:
            task_id: the task.
            tenant_id: the tenant for which the log is read.

        Raises:
            ApiError: WORK_LIMITED; too many such reads of this tenant run and wait.
            KafkaUnavailableError: no broker answers, or the log is too long for ten seconds.
        """
        async with self._slots.of(tenant_id):
            try:
                async with asyncio.timeout(_BOUND_S):
                    return await self._scan(task_id)
            except TimeoutError as error:
                raise KafkaUnavailableError("the log was not read in time") from error

    async def _scan(self, task_id: TaskId) -> list[TaskEvent]:
        client_id = f"{self._kafka.client_id}-api-scan"
        async with LogReader(self._kafka, client_id=client_id) as reader:
            return await TaskLog(reader, self._topics).remains(task_id)
