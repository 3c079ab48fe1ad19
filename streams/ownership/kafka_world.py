"""One partition of a real Kafka, as its owner reaches it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from schemas.codec import decode
from schemas.dead_letter import Failure, Origin
from schemas.errors import DecodeError, InvalidRecordError
from schemas.limits import Limits
from schemas.records import TaskEvent
from schemas.topics import Topics
from streams import span_names as names
from streams.envelopes import Trace, command_record, control_record, event_record
from streams.inbound import Inbound
from streams.kafka.admin import Admin
from streams.kafka.broker_clock import BrokerClock
from streams.kafka.dead_letters import DeadLetters
from streams.kafka.group_note import read_epoch
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Outgoing, Publisher
from streams.ownership.ports import Arrival, Committed, Logged, Sealed, StateRecord
from streams.ownership.state_record import read_state, write_state
from streams.ownership.step_letter import step_letter
from streams.runtime.delivery import Delivery
from streams.settings import KafkaSettings
from streams.traceparent import TRACE_HEADERS, passed_on
from streams.tracing import RecordSpan
from tasks.effects import Broadcast, DeadLetterStep, Effect, SendStep
from tasks.inputs import Input, task_id_of

_READ_MAX = 10_000
"""Records that one read brings into memory; a read may bring a few more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldParts:
    """What the worlds of all partitions of this process share."""

    group: str
    kafka: KafkaSettings
    topics: Topics
    limits: Limits
    publisher: Publisher
    dead_letters: DeadLetters
    inputs: LogReader
    """For the ends of inputs, which others write; reading needs a reader of its own."""
    clock: BrokerClock
    logs: LogReader
    """For the ends of topics that only routers write, including records below open transactions."""


class KafkaArrival:
    """A delivery of an input topic. An ``Arrival``."""

    __slots__ = ("_inbound", "_span", "_task_id", "delivery", "offset", "topic")

    def __init__(self, delivery: Delivery, inbound: Inbound) -> None:
        self.delivery = delivery
        self.topic = delivery.topic
        self.offset = delivery.offset
        self._inbound = inbound
        self._span: RecordSpan | None = None
        self._task_id = ""

    def __repr__(self) -> str:
        return repr(self.delivery)

    def read(self) -> Input:
        """Decode the record and check its key."""
        given = self._inbound.read(self.delivery.origin)
        self._task_id = task_id_of(given)
        return given

    def trace(self) -> Trace:
        """The trace headers of what follows; begins the span, which the acknowledgement ends."""
        return self._spanned().headers

    def fail(self, code: str) -> None:
        """Mark the span as failed, because the record is dead-lettered."""
        self._spanned().fail(code)

    def ack(self) -> None:
        """Acknowledge the delivery."""
        self.delivery.ack()
        if self._span is not None:
            self._span.end()

    def _described(self) -> dict[str, str]:
        return {names.TASK: self._task_id}

    def _spanned(self) -> RecordSpan:
        if self._span is None:
            delivery = self.delivery
            self._span = RecordSpan(
                delivery.headers,
                delivery.topic,
                delivery.partition,
                delivery.offset,
                self._described,
            )
        return self._span


class KafkaWorld:
    """A ``World``. Reads with a consumer of its own, publishes with the process's producer."""

    def __init__(self, partition: int, parts: WorldParts) -> None:
        self._partition = partition
        self._parts = parts

    async def log_bounds(self) -> tuple[int, int]:
        """The bounds of our partition of ``task-events``."""
        return await self._parts.logs.bounds(self._parts.topics.task_events, self._partition)

    async def log_end(self) -> int:
        """The end of our partition of ``task-events``."""
        return await self._end(self._parts.topics.task_events)

    async def log_read(self, start: int, end: int) -> tuple[Sequence[Logged], int]:
        """Read and decode events."""
        records, position = await self._read(self._parts.topics.task_events, start, end)
        return [self._logged(record) for record in records], position

    async def log_append(self, events: Sequence[Sealed]) -> Sequence[int]:
        """Publish events."""
        return await self._parts.publisher.publish(_outgoing(events))

    async def state_bounds(self) -> tuple[int, int]:
        """The bounds of our partition of ``task-state``."""
        return await self._parts.logs.bounds(self._parts.topics.task_state, self._partition)

    async def state_end(self) -> int:
        """The end of our partition of ``task-state``."""
        return await self._end(self._parts.topics.task_state)

    async def state_read(self, start: int, end: int) -> tuple[Sequence[StateRecord], int]:
        """Read and decode snapshots and checkpoints."""
        records, position = await self._read(self._parts.topics.task_state, start, end)
        return [read_state(record) for record in records], position

    async def state_write(self, records: Sequence[StateRecord]) -> Sequence[int]:
        """Publish snapshots or a checkpoint."""
        topic = self._parts.topics.task_state
        return await self._parts.publisher.publish(
            [write_state(topic, self._partition, record) for record in records]
        )

    async def committed(self) -> Mapping[str, Committed]:
        """Ask the group's coordinator."""
        inputs = [(topic, self._partition) for topic in self._parts.topics.router_inputs]
        async with Admin(self._parts.kafka) as admin:
            found = await admin.commits(self._parts.group, inputs)
        return {
            topic: Committed(commit.offset, read_epoch(commit.metadata))
            for (topic, _), commit in found.items()
        }

    async def input_bounds(self) -> Mapping[str, tuple[int, int]]:
        """Ask for the bounds of our partition of each input topic."""
        inputs = [(topic, self._partition) for topic in self._parts.topics.router_inputs]
        bounds = await self._parts.inputs.all_bounds(inputs)
        return {topic: found for (topic, _), found in bounds.items()}

    async def clock_difference_ms(self, *, at_most_ms: int) -> int | None:
        """Ask the clock that all partitions of this process share."""
        return await self._parts.clock.difference_ms(self._partition, at_most_ms=at_most_ms)

    async def topic_ids(self) -> Mapping[str, str]:
        """Ask the broker."""
        topics = self._parts.topics
        async with Admin(self._parts.kafka) as admin:
            found = await admin.topic_ids(
                [*topics.router_inputs, topics.task_events, topics.task_state]
            )
        return found or {}

    async def no_input_between(self, topic: str, start: int, end: int) -> bool:
        """Read until there is a record."""
        first, _ = await self._parts.inputs.bounds(topic, self._partition)
        records, _ = await self._read(topic, max(start, first), end, enough=1, committed=True)
        return not records

    def seal_event(self, event: TaskEvent, trace: Trace) -> Sealed:
        """Encode an event."""
        return event_record(self._parts.topics, self._partition, event, trace)

    def seal_effect(self, effect: Effect, trace: Trace) -> Sealed:
        """Encode a command or a broadcast, or describe a dead letter."""
        topics = self._parts.topics
        match effect:
            case SendStep(command=command, lane=lane):
                return command_record(topics, self._partition, command, lane, trace)
            case Broadcast(control=control):
                return control_record(topics, control, trace)
            case DeadLetterStep():
                return step_letter(topics, self._partition, effect, trace)

    def seal_forward(self, arrival: Arrival, partition: int) -> Sealed:
        """The same record for the partition of its key; of its trace headers, what can be read."""
        assert isinstance(arrival, KafkaArrival)
        delivery = arrival.delivery
        forwarded = Outgoing(
            topic=delivery.topic,
            partition=partition,
            key=delivery.key,
            value=delivery.value,
            headers=[
                *(pair for pair in delivery.headers if pair[0] not in TRACE_HEADERS),
                *((name, text.encode()) for name, text in arrival.trace().items()),
            ],
            timestamp_ms=delivery.timestamp_ms,
        )
        # A compressed record passed the size check as it is, and is forwarded as it is.
        if forwarded.size > self._parts.limits.record_max_bytes:
            raise InvalidRecordError(
                "RECORD_TOO_LARGE", f"the record has {forwarded.size} bytes with its headers"
            )
        return forwarded

    async def send(self, effects: Sequence[Sealed]) -> None:
        """Publish records, then dead letters of steps."""
        records = [effect for effect in effects if isinstance(effect, Outgoing)]
        if records:
            await self._parts.publisher.publish(records)
        await self._parts.dead_letters.publish([e for e in effects if isinstance(e, tuple)])

    async def dead_letter(self, letters: Sequence[tuple[Arrival, Failure]]) -> None:
        """Publish dead letters of inputs."""
        ours = [(a, failure) for a, failure in letters if isinstance(a, KafkaArrival)]
        for arrival, failure in ours:
            arrival.fail(failure.code)
        await self._parts.dead_letters.publish([(a.delivery.origin, f) for a, f in ours])

    def _logged(self, record: Origin) -> Logged:
        try:
            event = decode(record.value, TaskEvent, max_bytes=self._parts.limits.event_max_bytes)
        except DecodeError:
            return Logged(record.offset, None)
        return Logged(record.offset, event, passed_on(record.headers))

    async def _end(self, topic: str) -> int:
        ends = await self._parts.logs.ends([(topic, self._partition)])
        return ends[topic, self._partition]

    async def _read(
        self, topic: str, start: int, end: int, *, enough: int = _READ_MAX, committed: bool = False
    ) -> tuple[list[Origin], int]:
        """Read a part of a range, at least ``enough`` records; return them and where to go on."""
        kafka, found = self._parts.kafka, list[Origin]()
        client_id = f"{kafka.client_id}-router-reads"
        async with (
            LogReader(kafka, client_id=client_id, committed=committed) as reader,
            aclosing(reader.read(topic, self._partition, start, end)) as batches,
        ):
            async for batch in batches:
                found += batch
                if len(found) >= enough:
                    return found, found[-1].offset + 1
        return found, end


def _outgoing(records: Sequence[Sealed]) -> list[Outgoing]:
    return [record for record in records if isinstance(record, Outgoing)]
