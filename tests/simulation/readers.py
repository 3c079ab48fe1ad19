"""Who else reads the log: a sink with its stored position, and replicas of the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.records import EventKind, TaskId
from streams.history.acceptance import Ownership, accept
from streams.ownership.recovery import Recovery
from tasks import apply as rules_of_fold
from tasks.decision import Rules
from tasks.task import Task
from tests.simulation.broker import TOPICS, Broker
from tests.simulation.world import events_between, state_between


@dataclass(slots=True)
class Stored:
    """What one transaction of the sink leaves: rows, and the position they go up to."""

    next_offset: int = 0
    ownership: Ownership | None = None
    rows: Mapping[TaskId, Task] = field(default_factory=dict)


class Sink:
    """Reads in batches. Its database may be restored from a backup."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._backups: list[Stored] = []
        self.stored = Stored()

    def step(self) -> None:
        """Write some events, and sometimes make a backup of all."""
        rng, end = self._broker.rng, self._broker.end(TOPICS.task_events)
        self._write(min(end, self.stored.next_offset + rng.randint(0, 4)))
        if rng.random() < 0.1:
            self._backups.append(self.stored)

    def restore(self) -> None:
        """Go back to some backup."""
        if self._backups:
            self.stored = self._broker.rng.choice(self._backups)
            self._broker.trace.add(self._broker.now, "SINK restored to", self.stored.next_offset)

    def finish(self) -> Mapping[TaskId, Task]:
        """Read to the end; return the rows."""
        self._write(self._broker.end(TOPICS.task_events))
        return self.stored.rows

    def _write(self, stop: int) -> None:
        rows, ownership = dict(self.stored.rows), self.stored.ownership
        for logged in events_between(self._broker, self.stored.next_offset, stop):
            assert logged.event is not None
            accepted = accept(ownership, logged.event)
            if accepted is None:
                continue
            ownership = accepted
            if logged.event.kind is not EventKind.OWNERSHIP_TAKEN:
                task = rules_of_fold.fold(rows.get(logged.event.task_id), logged.event)
                if task is not None:
                    rows[logged.event.task_id] = task
        self.stored = Stored(stop, ownership, rows)


class Replica:
    """Starts as the API does: from the checkpoint, without taking over."""

    def __init__(self, broker: Broker, rules: Rules) -> None:
        self._broker = broker
        self.recovery = Recovery(
            pipelines=rules.pipelines,
            committed={},
            created_topic=TOPICS.task_created,
            events_topic=TOPICS.task_events,
            state_topic=TOPICS.task_state,
            partitions=1,
        )
        for record in state_between(broker, 0, broker.end(TOPICS.task_state)):
            self.recovery.load(record)
        self.started_at = self._position = self.recovery.start_at(0)
        broker.trace.add(broker.now, "REPLICA starts at", self.started_at)

    def finish(self) -> Mapping[TaskId, Task]:
        """Read to the end; return the tasks."""
        end = self._broker.end(TOPICS.task_events)
        for logged in events_between(self._broker, self._position, end):
            self.recovery.fold(logged)
        self._position = end
        return self.recovery.tasks
