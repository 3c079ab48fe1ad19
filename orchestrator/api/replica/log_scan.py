"""Finds a task's history in the log itself: slow, but complete while Postgres is down."""

from __future__ import annotations

import asyncio

from schemas.records import TaskEvent, TaskId
from schemas.topics import Topics
from streams.errors import KafkaUnavailableError
from streams.history.task_log import TaskLog
from streams.kafka.log_reader import LogReader
from streams.settings import KafkaSettings

_AT_ONCE = 2
_BOUND_S = 10.0


class LogScan:
    """Reads one partition from its beginning, for a limited number of callers at a time."""

    def __init__(self, kafka: KafkaSettings, topics: Topics) -> None:
        self._kafka = kafka
        self._topics = topics
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def events(self, task_id: TaskId) -> list[TaskEvent]:
        """The accepted events of a task's current life that the log still has.

        Raises:
            KafkaUnavailableError: no broker answers, or the log is too long for ten seconds.
        """
        try:
            async with asyncio.timeout(_BOUND_S), self._slots:
                return await self._scan(task_id)
        except TimeoutError as error:
            raise KafkaUnavailableError("the log was not read in time") from error

    async def _scan(self, task_id: TaskId) -> list[TaskEvent]:
        client_id = f"{self._kafka.client_id}-api-scan"
        async with LogReader(self._kafka, client_id=client_id) as reader:
            return await TaskLog(reader, self._topics).remains(task_id)
