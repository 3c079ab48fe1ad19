"""Tasks as upstream services publish them: mixed, and always enough of them in flight."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Sequence
from typing import TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.chaos.watch import Watch
from tests.checker.wire import Value, encode

T = TypeVar("T")

_TICK_S = 0.1
_STEP = 40
"""Tasks published in one tick at most."""
_RETRY_S = 60.0


def faults(call_s: float) -> list[Value]:
    """Of the reference services, by tenant."""
    return [
        {"tenant": "slow", "delay_s": call_s},
        {"tenant": "failing", "service": "rag_engine", "status": "UNAVAILABLE"},
        {"tenant": "refused", "service": "retrieval", "status": "INVALID_ARGUMENT"},
        {"tenant": "hanging", "service": "retrieval", "hang": True},
    ]


class Load:
    """Keeps a number of tasks in flight, until it is told to finish.

    Most are slow ones; some fail, some are held and executed, some are cancelled.
    """

    def __init__(
        self, bootstrap: str, prefix: str, watch: Watch, plan: random.Random, *, in_flight: int
    ) -> None:
        self.ids: list[str] = []
        self._watch = watch
        self._plan = plan
        self._target = in_flight
        self._created = f"{prefix}task-created.v1"
        self._commands = f"{prefix}task-commands.v1"
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap, acks="all", enable_idempotence=True
        )
        self._finishing = False

    @property
    def in_flight(self) -> int:
        """Published, and not ended in the log."""
        return len(self.ids) - len(self._watch.ended.intersection(self.ids))

    def draw(self) -> float:
        """The next draw of the plan, from ``[0, 1)``."""
        return self._plan.random()

    def pick(self, options: Sequence[T], weights: Sequence[int]) -> T:
        """One of these, by the plan."""
        return self._plan.choices(options, weights)[0]

    def finish(self) -> None:
        """Publish no more than was asked for at least."""
        self._finishing = True

    async def run(self, *, at_least: int) -> None:
        """Publish until told to finish, at least ``at_least``; return when all are acknowledged."""
        await self._producer.start()
        try:
            while len(self.ids) < at_least or not self._finishing:
                wanted = min(_STEP, self._target - self.in_flight)
                if wanted > 0:
                    await self.publish([self._task() for _ in range(wanted)])
                await asyncio.sleep(_TICK_S)
        finally:
            await self._producer.stop()

    def _task(self) -> Value:
        tenant = self._plan.choices(["slow", "failing", "refused"], [90, 5, 5])[0]
        return a_task(
            tenant,
            priority=self._plan.randint(0, 10),
            hold=self._plan.random() < 0.05,
        )

    async def publish(self, tasks: list[Value]) -> None:
        """Publish tasks, and for some of them a command right away.

        Executes and cancels race with their creates: they are in another topic.
        """
        await self._send(self._created, [(t["task_id"], encode(t, "TaskCreated")) for t in tasks])
        self.ids += [task["task_id"] for task in tasks]
        orders = [a_command(task, "execute") for task in tasks if task["hold"]]
        orders += [a_command(task, "cancel") for task in tasks if self._plan.random() < 0.05]
        await self._send(self._commands, [(o["task_id"], encode(o, "TaskCommand")) for o in orders])

    async def _send(self, topic: str, records: list[tuple[str, bytes]]) -> None:
        """Send, again while the broker is away: the same id is the same task."""
        async with asyncio.timeout(_RETRY_S):
            while records:
                sent = [
                    await self._producer.send(topic, value, key=key.encode())
                    for key, value in records
                ]
                found = await asyncio.gather(*sent, return_exceptions=True)
                for failure in found:
                    if isinstance(failure, BaseException) and not isinstance(failure, KafkaError):
                        raise failure
                records = [
                    record
                    for record, outcome in zip(records, found, strict=True)
                    if isinstance(outcome, KafkaError)
                ]


def a_task(tenant: str, *, priority: int = 5, hold: bool = False, **changes: object) -> Value:
    """A rag task, as ``TaskCreated``."""
    return {
        "task_id": f"task_{uuid.uuid4()}",
        "tenant_id": tenant,
        "type": "rag",
        "input": '{"query": "What is a dead letter?"}',
        "priority": priority,
        "hold": hold,
        "created_at": time.time_ns() // 1_000_000,
        **changes,
    }


def a_command(task: Value, kind: str) -> Value:
    """An order about a task, as ``TaskCommand``."""
    return {
        "command_id": str(uuid.uuid4()),
        "task_id": task["task_id"],
        "tenant_id": task["tenant_id"],
        "kind": kind,
        "actor": "chaos",
        "issued_at": time.time_ns() // 1_000_000,
    }
