"""Shows the system at work: tasks in as an upstream service sends them, rows out."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from orchestrator.local.demo.voice_engine import NOT_INSTALLED as SPEECH_NOT_INSTALLED
from orchestrator.local.dev.demo_tasks import demo_tasks
from orchestrator.local.dev.showing import show_letter, show_task, show_usage
from orchestrator.local.dev.upstream import traced_upstream
from orchestrator.settings import Settings
from schemas.codec import encode
from schemas.dead_letter import Origin
from schemas.headers import cloudevent_headers, header_text
from schemas.printable import printable
from schemas.records import TaskCreated, TaskId
from schemas.topics import Topics, dlq
from sinks.reads.reader import Reader
from sinks.reads.stored import StoredTask
from streams.kafka.connection import producer
from streams.kafka.log_reader import LogReader

MALFORMED = b"\x00\x00\x00\x00\x65 this is not an Avro record"
_POLL_S = 0.2
_UPSTREAM = "/demonstration"


@dataclass(frozen=True, slots=True)
class Demonstration:
    """Publishes demonstration tasks and waits for their results."""

    settings: Settings
    console: Console
    models: bool = False
    """Whether real models answer."""

    async def run(self, *, timeout_s: float) -> bool:
        """Return True if the tasks ended as expected and the malformed record is a dead letter.

        All tasks complete, except for speech if this Python has no recogniser.

        Prints the rows as they are in Postgres and the dead letter as it is in its topic.
        """
        topics = Topics(self.settings.topics)
        tasks = demo_tasks(models=self.models)
        malformed_key = f"malformed_{uuid.uuid4()}".encode()
        with traced_upstream():
            position = await self._publish(topics, tasks, malformed_key)
        self.console.print(
            f"published {len(tasks)} tasks, one of each type, and one malformed record"
        )
        rows = await self._wait_for_rows([task.task_id for task in tasks], timeout_s)
        letter = await self._wait_for_letter(topics, malformed_key, position, timeout_s)
        order = [task.task_id for task in tasks]
        self._show(sorted(rows, key=lambda row: order.index(row.id)), letter)
        good = [row for row in rows if row.status == "completed" or _has_no_speech(row)]
        return (
            len(good) == len(tasks)
            and letter is not None
            and (letter.key, letter.value) == (malformed_key, MALFORMED)
        )

    async def _publish(
        self, topics: Topics, tasks: Sequence[TaskCreated], malformed_key: bytes
    ) -> tuple[int, int]:
        """Publish as an upstream service would; return the malformed record's position."""
        async with producer(self.settings.kafka, client_id="upstream-service") as upstream:
            for task in tasks:
                await upstream.send_and_wait(
                    topics.task_created,
                    encode(task),
                    key=task.task_id.encode(),
                    headers=cloudevent_headers(
                        event_id=task.task_id,
                        event_type="orchestrator.v1.TaskCreated",
                        time_ms=task.created_at,
                        task_id=task.task_id,
                        tenant_id=task.tenant_id,
                        task_type=task.type,
                        source=_UPSTREAM,
                    ),
                )
            sent = await upstream.send_and_wait(
                topics.task_created,
                MALFORMED,
                key=malformed_key,
                headers=[("ce_tenantid", tasks[0].tenant_id.encode())],
            )
        return sent.partition, sent.offset

    async def _wait_for_rows(self, ids: Sequence[TaskId], timeout_s: float) -> list[StoredTask]:
        reader = Reader(self.settings.postgres)
        await reader.open()
        rows: list[StoredTask] = []
        try:
            with self.console.status("waiting") as status:
                until = time.monotonic() + timeout_s
                while time.monotonic() < until:
                    rows = await reader.tasks(ids)
                    status.update(Text(printable(_progress(rows, len(ids)))))
                    if sum(row.completed_at is not None for row in rows) == len(ids):
                        break
                    await asyncio.sleep(_POLL_S)
        finally:
            await reader.close()
        return rows

    async def _wait_for_letter(
        self, topics: Topics, key: bytes, position: tuple[int, int], timeout_s: float
    ) -> Origin | None:
        """The dead letter of the record at this position; a dead letter keeps its partition."""
        topic, (partition, offset) = dlq(topics.task_created), position
        until = time.monotonic() + timeout_s
        async with LogReader(self.settings.kafka, client_id="demonstration") as reader:
            start, _ = await reader.bounds(topic, partition)
            while time.monotonic() < until:
                _, end = await reader.bounds(topic, partition)
                async for records in reader.read(topic, partition, start, end):
                    for record in records:
                        origin = header_text(record.headers, "__dlq.errors.offset")
                        if record.key == key and origin == str(offset):
                            return record
                start = end
                await asyncio.sleep(_POLL_S)
        return None

    def _show(self, rows: Sequence[StoredTask], letter: Origin | None) -> None:
        for row in rows:
            show_task(self.console, row)
        show_usage(self.console, rows)
        show_letter(self.console, letter)


def _has_no_speech(row: StoredTask) -> bool:
    return row.type == "voice" and SPEECH_NOT_INSTALLED in (row.error_message or "")


def _progress(rows: Sequence[StoredTask], expected: int) -> str:
    seen = ", ".join(f"{row.type} {row.phase}" for row in rows)
    return f"{len(rows)} of {expected} tasks in Postgres: {seen}"
