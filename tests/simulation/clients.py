"""Who creates tasks and commands them: twice, too early, too late, and for ids used before."""

from __future__ import annotations

from random import Random

from schemas.records import CommandKind, Json, Millis, TaskCommand, TaskCreated, TaskId
from tests.simulation.broker import TOPICS, Broker
from tests.simulation.world import GARBAGE

TENANT = "acme"
TIMEOUT_MAX_MS = 20_000
_KINDS = (
    CommandKind.CANCEL,
    CommandKind.CANCEL,
    CommandKind.RETRY,
    CommandKind.RETRY,
    CommandKind.RETRY,
    CommandKind.SET_PRIORITY,
    CommandKind.EXECUTE,
)

Order = tuple[str, object]
"""A topic, and the record that goes there."""


class Clients:
    """All orders of a run, drawn at its start and published one by one in a random order."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._rng: Random = broker.rng
        self.tasks = [TaskId(f"T{i}") for i in range(self._rng.choice((1, 2, 2, 3, 4)))]
        self.orders: list[Order] = []
        for task_id in self.tasks:
            self._order(task_id)
        self._rng.shuffle(self.orders)

    def publish(self) -> None:
        """Publish the next order."""
        topic, record = self.orders.pop()
        offset = self._broker.append("client", topic, record)
        kind = getattr(record, "kind", "")
        self._broker.trace.add(
            self._broker.now, "CLIENT", topic.removeprefix("orchestrator."), offset, kind
        )

    def release(self, task_id: TaskId) -> None:
        """Execute a held task, so that it can end."""
        command = self._command(task_id, CommandKind.EXECUTE)
        self._broker.append("client", TOPICS.task_commands, command)

    def _order(self, task_id: TaskId) -> None:
        rng = self._rng
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            self.orders.append((TOPICS.task_created, self._created(task_id)))
        for _ in range(rng.choice((0, 0, 1, 2, 3))):
            self.orders.append((TOPICS.task_commands, self._command(task_id, rng.choice(_KINDS))))
        if rng.random() < 0.3:
            refused = self._created(TaskId(f"R{task_id}"), kind="unheard-of")
            self.orders.append((TOPICS.task_created, refused))
        if rng.random() < 0.1:
            topic = rng.choice((TOPICS.task_created, TOPICS.step_results))
            self.orders.append((topic, GARBAGE))

    def _created(self, task_id: TaskId, *, kind: str = "rag") -> TaskCreated:
        return TaskCreated(
            task_id=task_id,
            tenant_id=TENANT,
            type=kind,
            input=Json('{"query":"?"}'),
            priority=self._rng.choice((1, 5, 5, 9)),
            hold=self._rng.random() < 0.15,
            timeout_ms=self._rng.choice((2_000, TIMEOUT_MAX_MS, TIMEOUT_MAX_MS)),
            created_at=Millis(self._broker.now),
        )

    def _command(self, task_id: TaskId, kind: CommandKind) -> TaskCommand:
        rng = self._rng
        run = rng.choice((None, None, 1, 2)) if kind is CommandKind.RETRY else None
        return TaskCommand(
            command_id="c",
            task_id=task_id,
            tenant_id=TENANT,
            kind=kind,
            priority=rng.choice((1, 5, 9)) if kind is CommandKind.SET_PRIORITY else None,
            run=run,
            issued_at=Millis(self._broker.now),
        )
