"""One task in a replica's memory: its encoded records, folded when a caller asks.

Encoded records take a fraction of the memory of decoded ones, and most tasks are asked for at
most a few times.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.codec import decode
from schemas.records import EventKind, StepOutcome, TaskCreated, TaskEvent, TaskId, TaskStatus
from sinks.attempt_fold import AttemptsFold
from sinks.columns import StepRow
from tasks.apply import fold
from tasks.task import Phase, Task

HISTORY_MAX = 1_000
"""Events of one task in memory; the beginning of a longer life is read from Postgres."""


@dataclass(frozen=True, slots=True)
class AcceptedTask:
    """A task that the broker has and its owner has not decided yet."""

    partition: int
    offset: int
    tenant_id: str
    value: bytes

    def record(self) -> TaskCreated:
        """The record that its creator published."""
        return decode(self.value, TaskCreated)


@dataclass(frozen=True, slots=True)
class Folded:
    """A task and its attempts, according to the records in memory."""

    task: Task
    attempts: list[StepRow]
    failed_step: StepOutcome | None
    """The step of the task's error."""


class LiveTask:
    """A task, from the first record that this replica has of it."""

    __slots__ = (
        "base",
        "created_at",
        "created_offset",
        "document_bytes",
        "first_sequence",
        "last_offset",
        "partition",
        "phase",
        "priority",
        "sequence",
        "status",
        "task_id",
        "tenant_id",
        "type",
        "values",
    )

    def __init__(
        self, partition: int, *, base: Task | None = None, begun: TaskEvent | None = None
    ) -> None:
        """Begin with a snapshot, or with an event that carries the whole task."""
        self.partition = partition
        self.base = base
        self.values: list[bytes] = []
        self.created_offset = -1
        self.last_offset = -1
        if base is not None:
            self.task_id: TaskId = base.task_id
            self.tenant_id = base.spec.tenant_id
            self.document_bytes = len(base.spec.input) + len(base.spec.metadata)
            self.type = base.spec.type
            self.created_at: int = base.created_at
            self.status, self.phase = base.status, str(base.phase)
            self.priority, self.sequence = base.priority, base.sequence
            self.first_sequence = base.sequence + 1
        elif begun is not None and begun.task is not None:
            self.task_id = begun.task_id
            self.tenant_id = begun.tenant_id
            self.document_bytes = len(begun.task.input) + len(begun.task.metadata)
            self.type = begun.task.type
            self.created_at = begun.task.created_at
            self.status, self.phase, self.priority = TaskStatus.PENDING, "", begun.priority
            self.sequence = begun.sequence - 1
            self.first_sequence = begun.sequence
        else:
            raise ValueError("a task begins with a snapshot or with an event that carries it")

    @property
    def ended(self) -> bool:
        """True while only a retry can continue the task."""
        return self.status.terminal

    @property
    def held(self) -> bool:
        """True while it waits for an execute command."""
        return self.phase == Phase.HELD

    @property
    def whole(self) -> bool:
        """True if memory holds its whole history; otherwise the first part is elsewhere."""
        return self.first_sequence == 1

    def add(self, event: TaskEvent, value: bytes) -> bool:
        """Take an event if it is the next one; return whether it was."""
        if event.sequence != self.sequence + 1:
            return False
        self.values.append(value)
        self.sequence = event.sequence
        if event.kind is not EventKind.COMMAND_REFUSED:
            self.status, self.phase, self.priority = event.status, event.phase, event.priority
        if event.kind is EventKind.CREATED:
            self.created_offset = event.cause_offset
        if len(self.values) > HISTORY_MAX:
            self._forget_history()
        return True

    def events(self, after: int) -> list[TaskEvent]:
        """The events in memory with a later sequence."""
        return [decode(value, TaskEvent) for value in self.values_after(after)]

    def values_after(self, after: int) -> list[bytes]:
        """As :meth:`events`, as they were read: for an event, always the same object."""
        return self.values[max(0, after + 1 - self.first_sequence) :]

    def folded(self) -> Folded:
        """The current state of the task."""
        return folded(self.base, self.events(after=self.first_sequence - 1))

    def _forget_history(self) -> None:
        self.base = self.folded().task
        self.values = []
        self.first_sequence = self.sequence + 1


def folded(base: Task | None, events: Iterable[TaskEvent]) -> Folded:
    """Fold events onto a snapshot; without one the first event has to carry the whole task."""
    task, attempts, failed = base, AttemptsFold(), None
    for event in events:
        task = fold(task, event)
        attempts.apply(event, 0)
        if event.kind is not EventKind.COMMAND_REFUSED:
            failed = event.step if event.error else None
    if task is None:
        raise RuntimeError("a task in memory has neither a snapshot nor an event")
    return Folded(task, attempts.rows(), failed)
