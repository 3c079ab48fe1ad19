"""Drives a running system from outside, as its users do: Kafka in, Kafka and Postgres out."""

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer

from orchestrator.local.dev.system import System
from schemas.codec import encode
from schemas.dead_letter import Origin
from schemas.headers import header_text
from schemas.records import Json, Millis, TaskCreated, TaskId
from schemas.topics import Topics, dlq
from streams.kafka.log_reader import LogReader
from streams.kafka.partitioner import partition_of
from streams.ownership.state_record import CHECKPOINT_KEY
from tests.checker.check import check, events_of
from tests.checker.evidence import Evidence
from tests.checker.reading import read_evidence
from tests.checker.verdict import Statistics
from tests.checker.waiting import ENDS
from tests.checker.wire import Value

WAIT_S = 60.0
_ENDED = """\
SELECT count(*) FROM ai_orchestrator.tasks
WHERE id = ANY($1::text[]) AND completed_at IS NOT NULL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A running system and the evidence that it leaves."""

    system: System
    call_log: Path
    logs: Path
    observed_at: str = ""
    """Brokers' addresses for observers; those of the system if empty."""

    @property
    def bootstrap(self) -> str:
        return self.observed_at or self.system.settings.kafka.bootstrap

    @property
    def topics(self) -> Topics:
        return Topics(self.system.settings.topics)

    async def publish(
        self,
        topic: str,
        records: Sequence[tuple[bytes | None, bytes | None]],
        partition: int | None = None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> list[tuple[int, int]]:
        """Publish keys and values as an upstream service does; return their positions."""
        async with AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            acks="all",
            enable_idempotence=True,
            max_request_size=4_000_000,
        ) as producer:
            sent = [
                await producer.send(topic, value, key=key, partition=partition, headers=headers)
                for key, value in records
            ]
            return [(m.partition, m.offset) for m in await asyncio.gather(*sent)]

    async def create(self, tasks: Sequence[TaskCreated]) -> None:
        """Publish tasks to task-created."""
        records = [(task.task_id.encode(), encode(task)) for task in tasks]
        await self.publish(self.topics.task_created, records)

    async def rows(self, ids: Sequence[str]) -> dict[str, asyncpg.Record]:
        """The rows of these tasks."""
        connection = await asyncpg.connect(self.system.settings.postgres.dsn)
        try:
            found = await connection.fetch(
                "SELECT * FROM ai_orchestrator.tasks WHERE id = ANY($1::text[])", list(ids)
            )
        finally:
            await connection.close()
        return {row["id"]: row for row in found}

    async def ended(
        self, ids: Sequence[str], *, timeout_s: float = WAIT_S
    ) -> dict[str, asyncpg.Record]:
        """Wait until all of these tasks ended in Postgres; return their rows."""
        connection = await asyncpg.connect(self.system.settings.postgres.dsn)
        try:
            async with asyncio.timeout(timeout_s):
                while await connection.fetchval(_ENDED, list(ids)) < len(ids):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(self._story(ids, await self.rows(ids))) from None
        finally:
            await connection.close()
        return await self.rows(ids)

    async def row_until(
        self, task_id: str, condition: Callable[[asyncpg.Record], bool]
    ) -> asyncpg.Record:
        """Wait until a task's row is as wanted; return it."""
        async with asyncio.timeout(WAIT_S):
            while True:
                row = (await self.rows([task_id])).get(task_id)
                if row is not None and condition(row):
                    return row
                await asyncio.sleep(0.05)

    async def until_state_holds(self, task_id: str) -> None:
        """Wait until ``task-state`` has a snapshot of a task, and a checkpoint after it."""
        topic, partitions = self.topics.task_state, self.system.settings.topics.partitions
        partition, seen = partition_of(task_id.encode(), partitions), list[bytes | None]()
        async with LogReader(self.system.settings.kafka, client_id="test") as reader:
            start = 0
            async with asyncio.timeout(WAIT_S):
                while task_id.encode() not in seen or seen[-1] != CHECKPOINT_KEY:
                    _, end = await reader.bounds(topic, partition)
                    async for records in reader.read(topic, partition, start, end):
                        seen += [record.key for record in records]
                    start = end
                    await asyncio.sleep(0.1)

    async def dead_letter(self, topic: str, position: tuple[int, int]) -> Origin:
        """Wait for the dead letter of the record at this position."""
        partition, offset = position
        async with LogReader(self.system.settings.kafka, client_id="test") as reader:
            start = 0
            async with asyncio.timeout(WAIT_S):
                while True:
                    _, end = await reader.bounds(dlq(topic), partition)
                    async for records in reader.read(dlq(topic), partition, start, end):
                        for record in records:
                            if header_text(record.headers, "__dlq.errors.offset") == str(offset):
                                return record
                    start = end
                    await asyncio.sleep(0.05)

    async def events(self) -> list[Value]:
        """All accepted events of the log, in order within each partition."""
        prefix = self.system.settings.topics.prefix
        log = events_of(await read_evidence(self.bootstrap, None, prefix=prefix, log_only=True))
        return [logged.event for logged in log.events()]

    def calls(self) -> list[dict[str, Any]]:
        """The calls that the services saw begin, in order."""
        return self._noted("began")

    def ended_calls(self) -> list[dict[str, Any]]:
        """The calls that ended, each as its service saw it end."""
        return self._noted("ended")

    def calls_by_key(self, ids: Sequence[str]) -> Counter[str]:
        """How often each attempt of these tasks was called."""
        wanted = set(ids)
        return Counter(c["idempotency_key"] for c in self.calls() if c["task_id"] in wanted)

    async def until(self, condition: Callable[[], bool], *, timeout_s: float = WAIT_S) -> None:
        """Wait for something outside."""
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110  # it happens in another process
                await asyncio.sleep(0.02)

    async def check(self, ids: Sequence[str], *, quiet: bool = False) -> Statistics:
        """Let the checker judge all that this system left; these tasks must have ended.

        Args:
            ids: tasks that were published.
            quiet: nothing is under way, so the last events' effects are demanded, too.
        """
        evidence = await self._evidence()
        verdict, histories = check(evidence, quiet=quiet), events_of(evidence).histories
        assert not verdict.violations, str(verdict)
        lost = [
            i for i in ids if i not in histories or histories[i][-1].event["status"] not in ENDS
        ]
        assert not lost, f"{len(lost)} tasks did not end, {lost[0]} among them"
        return verdict.statistics

    def _noted(self, event: str) -> list[dict[str, Any]]:
        if not self.call_log.exists():
            return []
        lines = [json.loads(line) for line in self.call_log.read_text().splitlines()]
        return [line for line in lines if line["event"] == event]

    async def _evidence(self) -> Evidence:
        settings = self.system.settings
        return await read_evidence(
            self.bootstrap, settings.postgres.dsn, prefix=settings.topics.prefix
        )

    def _story(self, ids: Sequence[str], rows: dict[str, asyncpg.Record]) -> str:
        states = Counter(row["phase"] for row in rows.values())
        tails = "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text().splitlines()[-15:])
            for path in sorted(self.logs.glob("*.log"))
        )
        return f"{len(rows)} of {len(ids)} tasks have rows: {dict(states)}\n{tails}"


def a_rag_task(tenant: str = "acme", **changes: Any) -> TaskCreated:
    """A task whose question the project's own documents answer."""
    fields: dict[str, Any] = {
        "task_id": TaskId(f"task_{uuid.uuid4()}"),
        "tenant_id": tenant,
        "type": "rag",
        "input": Json(json.dumps({"query": "What is a dead letter?"})),
        "created_at": Millis(time.time_ns() // 1_000_000),
    }
    return TaskCreated(**(fields | changes))


ANY_PORTS = {"ORCH_API_GRPC_PORT": "0", "ORCH_API_HTTP_PORT": "0"}
"""Of the service. Not the usual ones: tests of another process may find them free just then."""


async def a_database(server_dsn: str) -> str:
    """The DSN of a new, empty database: a projection belongs to one log."""
    name = f"e2e_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(server_dsn)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return server_dsn.rsplit("/", 1)[0] + f"/{name}"
