"""Finds a task's history in the log itself: slow, and right while Postgres is away."""

from __future__ import annotations

import asyncio

from schemas.codec import decode
from schemas.errors import DecodeError
from schemas.records import EventKind, TaskEvent, TaskId
from schemas.topics import Topics
from streams.errors import KafkaUnavailableError
from streams.log_reader import LogReader
from streams.ownership.acceptance import Ownership, accept
from streams.settings import KafkaSettings

_AT_ONCE = 2
_BOUND_S = 10.0


class LogScan:
    """Reads one partition from its beginning, a few callers at a time."""

    def __init__(self, kafka: KafkaSettings, topics: Topics) -> None:
        self._kafka = kafka
        self._topics = topics
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def events(self, task_id: TaskId, partition: int) -> list[TaskEvent]:
        """The accepted events of a task's present life, as far as the log still has them.

        Raises:
            KafkaUnavailableError: no broker answers, or the log is too long for ten seconds.
        """
        try:
            async with asyncio.timeout(_BOUND_S), self._slots:
                return await self._scan(task_id, partition)
        except TimeoutError as error:
            raise KafkaUnavailableError("the log was not read in time") from error

    async def _scan(self, task_id: TaskId, partition: int) -> list[TaskEvent]:
        topic, key = self._topics.task_events, task_id.encode()
        ownership: Ownership | None = None
        life: list[TaskEvent] = []
        client_id = f"{self._kafka.client_id}-api-scan"
        async with LogReader(self._kafka, client_id=client_id) as reader:
            first, end = await reader.bounds(topic, partition)
            async for records in reader.read(topic, partition, first, end):
                for record in records:
                    # A marker has no key.
                    if record.key not in (key, None):
                        continue
                    try:
                        event = decode(record.value, TaskEvent)
                    except DecodeError:
                        continue
                    accepted = accept(ownership, event)
                    if accepted is None:
                        continue
                    ownership = accepted
                    if event.kind is EventKind.CREATED:
                        life = []
                    if event.task_id == task_id:
                        life.append(event)
        return life
