"""What an owner sees of the simulated Kafka. A ``World``, and its ``Arrival``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from schemas.dead_letter import Failure
from schemas.errors import DecodeError
from schemas.records import StepResult, TaskCommand, TaskCreated, TaskEvent
from streams.envelopes import Trace
from streams.errors import PublishError
from streams.ownership.ports import Arrival, Committed, Logged, Sealed, Snapshot, StateRecord
from tasks.effects import Broadcast, DeadLetterStep, Effect, SendStep
from tasks.inputs import Cause, Commanded, Created, Input, Reported
from tests.simulation.broker import DEAD, INPUTS, STEPS, TOPICS, Broker, Request
from tests.simulation.group import Group
from tests.simulation.turns import TURN

GARBAGE = b"garbage"
"""An input that nobody can decode."""


@dataclass(frozen=True, slots=True)
class DeadLetteredInput:
    """The dead letter of an input."""

    topic: str
    offset: int
    code: str


@dataclass(slots=True, eq=False)
class SimulatedArrival:
    """An input as a process got it."""

    topic: str
    offset: int
    record: object
    on_ack: Callable[[str, int], None]

    def read(self) -> Input:
        cause = Cause(self.topic, 0, self.offset)
        match self.record:
            case TaskCreated():
                return Created(cause, self.record)
            case TaskCommand():
                return Commanded(cause, self.record)
            case StepResult():
                return Reported(cause, self.record)
        raise DecodeError("nobody can read it")

    def trace(self) -> Trace:
        return {}

    def ack(self) -> None:
        self.on_ack(self.topic, self.offset)


class SimulatedWorld:
    """One process's way to the broker. Every call takes turns, and may be its last one."""

    def __init__(self, process: str, broker: Broker, group: Group) -> None:
        self.process = process
        self.time_out = False
        """A fault: the next produce request has no answer in time."""
        self._broker = broker
        self._group = group

    async def log_bounds(self) -> tuple[int, int]:
        return 0, await self._end(TOPICS.task_events)

    async def log_end(self) -> int:
        return await self._end(TOPICS.task_events)

    async def log_read(self, start: int, end: int) -> tuple[Sequence[Logged], int]:
        await TURN
        stop = min(end, start + self._broker.rng.choice((2, 8, 1000)))
        return events_between(self._broker, start, stop), stop

    async def log_append(self, events: Sequence[Sealed]) -> Sequence[int]:
        return await self._produce(TOPICS.task_events, list(events))

    async def state_bounds(self) -> tuple[int, int]:
        return 0, await self._end(TOPICS.task_state)

    async def state_end(self) -> int:
        return await self._end(TOPICS.task_state)

    async def state_read(self, start: int, end: int) -> tuple[Sequence[StateRecord], int]:
        await TURN
        stop = min(end, start + self._broker.rng.choice((5, 1000)))
        return state_between(self._broker, start, stop), stop

    async def state_write(self, records: Sequence[StateRecord]) -> Sequence[int]:
        return await self._produce(TOPICS.task_state, list(records))

    async def committed(self) -> Mapping[str, Committed]:
        found = dict(self._group.committed)
        await TURN
        return found

    async def input_bounds(self) -> Mapping[str, tuple[int, int]]:
        found = {topic: (0, self._broker.end(topic)) for topic in INPUTS}
        await TURN
        return found

    async def clock_difference_ms(self, *, at_most_ms: int) -> int | None:
        return None

    async def topic_ids(self) -> Mapping[str, str]:
        return {}

    async def no_input_between(self, topic: str, start: int, end: int) -> bool:
        await TURN
        return start >= end

    def seal_event(self, event: TaskEvent, trace: Trace) -> Sealed:
        return event

    def seal_effect(self, effect: Effect, trace: Trace) -> Sealed:
        return effect

    def seal_forward(self, arrival: Arrival, partition: int) -> Sealed:
        raise AssertionError("there is one partition")

    async def send(self, effects: Sequence[Sealed]) -> None:
        """Records first, then dead letters, as the real world does."""
        records = [effect for effect in effects if not isinstance(effect, DeadLetterStep)]
        requests: list[Request] = []
        for effect in records:
            topic = TOPICS.control if isinstance(effect, Broadcast) else STEPS
            assert isinstance(effect, Broadcast | SendStep)
            requests += self._broker.produce(self.process, topic, [[effect]])
        await self._landed(requests)
        for effect in effects:
            if isinstance(effect, DeadLetterStep):
                await self._landed(self._broker.produce(self.process, DEAD, [[effect]]))

    async def dead_letter(self, letters: Sequence[tuple[Arrival, Failure]]) -> None:
        dead_lettered = [
            DeadLetteredInput(a.topic, a.offset, failure.code) for a, failure in letters
        ]
        if dead_lettered:
            await self._landed(self._broker.produce(self.process, DEAD, [dead_lettered]))

    async def _end(self, topic: str) -> int:
        """The end as it is now; when the caller goes on it may be an old answer."""
        end = self._broker.end(topic)
        await TURN
        return end

    async def _produce(self, topic: str, values: list[object]) -> list[int]:
        """Append in one request, or in two; the broker may not tell where it put one."""
        rng = self._broker.rng
        cut = rng.randint(1, len(values)) if rng.random() < 0.2 else len(values)
        parts = [part for part in (values[:cut], values[cut:]) if part]
        requests = self._broker.produce(self.process, topic, parts)
        await self._landed(requests)
        offsets: list[int] = []
        for request in requests:
            known = self._broker.calm or rng.random() > 0.05
            first = cast(int, request.offset)
            offsets += [first + i if known else -1 for i in range(len(request.values))]
        return offsets

    async def _landed(self, requests: Sequence[Request]) -> None:
        while any(request.offset is None for request in requests):
            await TURN
            if self.time_out:
                raise PublishError("no answer in time")


def events_between(broker: Broker, start: int, stop: int) -> list[Logged]:
    """Records of ``task-events``."""
    found = []
    for offset in range(start, stop):
        entry = broker.topic(TOPICS.task_events)[offset]
        assert entry is not None
        assert isinstance(entry.value, TaskEvent)
        found.append(Logged(offset, entry.value))
    return found


def state_between(broker: Broker, start: int, stop: int) -> list[StateRecord]:
    """What compaction left of ``task-state``."""
    found = []
    for offset in range(start, stop):
        entry = broker.topic(TOPICS.task_state)[offset]
        if entry is not None:
            record = cast(StateRecord, entry.value)
            found.append(StateRecord(record.content, record.by, offset))
    return found


def is_tombstone(record: object) -> bool:
    if not isinstance(record, StateRecord):
        return False
    return isinstance(record.content, Snapshot) and record.content.task is None
