"""A single role as its own process, on topics of its own."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator.layout import topic_table
from orchestrator.local.dev.fork import Fork
from orchestrator.pipelines import installed_pipelines
from orchestrator.settings import Settings, load_settings
from schemas.codec import decode, encode
from schemas.errors import DecodeError
from schemas.records import EventKind, TaskCreated, TaskEvent
from schemas.topics import Topics
from streams.kafka.admin import Admin
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Outgoing, Publisher

WAIT_S = 60.0


class OneRole:
    """The process of a role, or of several with spaces between, and its log and topics.

    Each topic has one partition.
    """

    def __init__(self, role: str, bootstrap: str, folder: Path, **environment: str) -> None:
        self.environment = {
            "ORCH_KAFKA_BOOTSTRAP": bootstrap,
            "ORCH_TOPICS_PREFIX": f"one-{os.urandom(4).hex()}.",
            "ORCH_TOPICS_PARTITIONS": "1",
            "ORCH_TOPICS_REPLICATION_FACTOR": "1",
            "ORCH_KAFKA_SESSION_TIMEOUT_S": "6",
            **environment,
        }
        self.settings: Settings = load_settings(self.environment)
        self.topics = Topics(self.settings.topics)
        self.log_path = folder / f"{role}.log"
        plain = {k: v for k, v in os.environ.items() if not k.startswith("ORCH_")}
        self.process = Fork(
            role, ["worker", *role.split()], env=plain | self.environment, log_path=self.log_path
        )

    async def make_topics(self) -> None:
        """Create those that are missing."""
        table = topic_table(self.settings, installed_pipelines(self.settings.pipelines))
        async with Admin(self.settings.kafka) as admin:
            await admin.apply(table)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[OneRole]:
        """Run the process; it is stopped in the end."""
        self.process.start()
        try:
            yield self
        finally:
            await self.process.stop(10)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log about an event."""
        if not self.log_path.exists():
            return []
        found = []
        for line in self.log_path.read_text("utf-8").splitlines():
            if line.startswith("{"):
                found.append(json.loads(line))
        return [line for line in found if line.get("event") == event]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds; AssertionError with the log after ``WAIT_S``."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not condition():  # noqa: ASYNC110  # conditions of another process's state
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(self.log_path.read_text("utf-8")[-4000:]) from None

    async def create(self, tasks: Sequence[TaskCreated]) -> None:
        """Publish tasks as an upstream service does."""
        publisher = Publisher(self.settings.kafka, client_id="test")
        await publisher.open()
        try:
            await publisher.publish(
                [
                    Outgoing(
                        topic=self.topics.task_created,
                        partition=0,
                        key=task.task_id.encode(),
                        value=encode(task),
                    )
                    for task in tasks
                ]
            )
        finally:
            await publisher.close()

    async def created(self) -> list[str]:
        """The tasks that the log says were created, in its order."""
        async with LogReader(self.settings.kafka, client_id="test", committed=False) as reader:
            start, end = await reader.bounds(self.topics.task_events, 0)
            records = [
                r
                async for batch in reader.read(self.topics.task_events, 0, start, end)
                for r in batch
            ]
        found = []
        for record in records:
            try:
                event = decode(record.value, TaskEvent)
            except DecodeError:
                continue
            if event.kind is EventKind.CREATED:
                found.append(str(event.task_id))
        return found

    async def until_created(self, ids: Sequence[str]) -> None:
        """Wait until the log says that all of these were created."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not set(ids) <= set(await self.created()):  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError(self.log_path.read_text("utf-8")[-4000:]) from None


def said(line: Mapping[str, Any]) -> tuple[str, str]:
    """What a line says: its code and its reason."""
    return str(line.get("code", "")), str(line.get("reason", ""))
