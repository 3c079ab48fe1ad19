"""The fair floor: what is kept for our promises, written without what makes them true.

The records are ours, field by field and with their headers; so are the snapshots, and the rows:
the sink is :class:`sinks.writer.Writer`, with its tables, indexes, counts and positions, in its
transactions. There is one process for each of our roles. What is missing is the ownership:
nobody takes a partition over, proves that an event is its own before a command follows from it,
refuses an input, makes a call, keeps a result for a second copy of a command, or knows a task
again after a restart. What the system costs above this floor is the price of that.

The router remembers a task until the snapshot after its end, as its events and its snapshot need
it, and commits once a second like the raw chain.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from aiokafka import ConsumerRecord

from benchmarks.chains.fair_records import (
    WRITER,
    command_of,
    created_event,
    result_event,
    result_of,
)
from benchmarks.chains.raw import STEPS, Chain, now_ms
from schemas.codec import decode
from schemas.records import (
    Lane,
    Millis,
    StepCommand,
    StepName,
    StepResult,
    TaskCreated,
    TaskEvent,
    TaskId,
)
from schemas.topics import Topics, TopicsSettings
from sinks.rows import LogEvent
from sinks.settings import PostgresSettings
from sinks.writer import EVENTS_MAX, Position, Writer
from streams.envelopes import command_record, event_record, result_record
from streams.history.acceptance import Ownership
from streams.kafka.publisher import Outgoing
from streams.ownership.ports import Checkpoint, Snapshot, StateRecord
from streams.ownership.settings import RouterSettings
from streams.ownership.state_record import write_state
from tasks.apply import apply
from tasks.remember import shrunk
from tasks.task import Task

ROLES = ("router", *STEPS, "sink")
_OBJECTS_BETWEEN_LOOKS = 50_000
"""For cycles: as in our own processes, because the router holds as many tasks."""


class FairRouter:
    """Makes the events, commands and snapshots of all partitions."""

    def __init__(self, topics: Topics, *, clock: Callable[[], Millis] = now_ms) -> None:
        self._topics = topics
        self._clock = clock
        self._tasks: dict[TaskId, Task] = {}
        self._changed: dict[int, set[TaskId]] = defaultdict(set)
        self._events: dict[int, int] = defaultdict(int)
        """As the only writer, it knows the next offset of each partition of the log."""
        self._written: dict[int, tuple[int, float]] = defaultdict(lambda: (0, time.monotonic()))
        """The events before the last round of snapshots, and its time."""
        self._state_from: dict[int, int] = defaultdict(int)

    def route(self, record: ConsumerRecord) -> list[Outgoing]:
        """The event of one input, and the command that follows."""
        at, partition = self._clock(), record.partition
        if record.topic == self._topics.task_created:
            before = None
            event = created_event(record, decode(record.value, TaskCreated), at)
        else:
            result = decode(record.value, StepResult)
            before = self._tasks[result.task_id]
            event = result_event(before, record, result, at)
        task = apply(before, event)
        self._tasks[task.task_id] = shrunk(task)
        self._changed[partition].add(task.task_id)
        self._events[partition] += 1
        made = [event_record(self._topics, partition, event, {})]
        for step in event.dispatched:
            command = command_of(task, step)
            made.append(command_record(self._topics, partition, command, step.lane, {}))
        return made

    def due_snapshots(self, settings: RouterSettings) -> list[Outgoing]:
        """Snapshots of what changed, and a checkpoint, of each partition that is due."""
        made: list[Outgoing] = []
        for partition, changed in self._changed.items():
            events, at = self._written[partition]
            many = self._events[partition] - events >= settings.snapshot_events
            late = time.monotonic() - at >= settings.snapshot_interval_s
            if changed and (many or late):
                made += self._snapshots(partition, changed)
        return made

    def _snapshots(self, partition: int, changed: set[TaskId]) -> list[Outgoing]:
        by, as_of = Ownership(1, WRITER), self._events[partition]
        tasks = [self._tasks[task_id] for task_id in sorted(changed)]
        contents: list[Snapshot | Checkpoint] = [
            Snapshot(task_id=task.task_id, task=task, as_of=as_of) for task in tasks
        ]
        contents.append(
            Checkpoint(
                offset=as_of,
                state_from=self._state_from[partition],
                decided_created=max(task.decided[self._topics.task_created] for task in tasks),
                partitions=self._topics.settings.partitions,
            )
        )
        topic = self._topics.task_state
        made = [write_state(topic, partition, StateRecord(content, by)) for content in contents]
        for task in tasks:
            if task.status.terminal:
                del self._tasks[task.task_id]
        changed.clear()
        self._state_from[partition] += len(made)
        self._written[partition] = as_of, time.monotonic()
        return made


class FairChain(Chain):
    """One process of the floor."""

    async def run_router(self) -> None:
        router, settings = FairRouter(self.topics), RouterSettings()

        async def publish(records: Sequence[ConsumerRecord]) -> None:
            await self.publisher.publish([made for r in records for made in router.route(r)])
            if due := router.due_snapshots(settings):
                await self.publisher.publish(due)

        await self.publisher.open()
        names = [self.topics.task_created, self.topics.step_results]
        await self.consume("fair-router", names, publish)

    async def run_worker(self, step: str) -> None:
        async def publish(records: Sequence[ConsumerRecord]) -> None:
            at = now_ms()
            await self.publisher.publish([work(self.topics, record, at) for record in records])

        await self.publisher.open()
        lane = self.topics.step(StepName(step), Lane.NORMAL)
        await self.consume(f"fair-{step}", [lane], publish)

    async def run_writer(self, dsn: str) -> None:
        writer = Writer(PostgresSettings(dsn=dsn))
        await writer.open()
        partitions: dict[int, FairPartition] = defaultdict(lambda: FairPartition(writer))

        async def write(records: Sequence[ConsumerRecord]) -> None:
            found: dict[int, list[LogEvent]] = defaultdict(list)
            for r in records:
                event = decode(r.value, TaskEvent)
                found[r.partition].append(LogEvent(r.partition, r.offset, event))
            for partition, events in found.items():
                await partitions[partition].take(events)

        await self.consume("fair-sink", [self.topics.task_events], write)


class FairPartition:
    """Writes the log of one partition, a batch after the other.

    Partitions take turns: while rows of one are with Postgres, those of others are made.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._stands: Position | None = None
        self._waiting: list[LogEvent] = []
        self._writing = asyncio.create_task(self._write())

    async def take(self, events: Sequence[LogEvent]) -> None:
        """Write events soon; wait if there are more than one batch of them."""
        self._waiting += events
        while len(self._waiting) > EVENTS_MAX and not self._writing.done():
            await self._writing
        if self._writing.done():
            self._writing.result()  # raises what stopped it
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:EVENTS_MAX], self._waiting[EVENTS_MAX:]
            after = Position(batch[-1].offset + 1, 1, WRITER)
            await self._writer.write(batch[0].partition, self._stands, batch, after)
            self._stands = after


def work(topics: Topics, record: ConsumerRecord, at: Millis) -> Outgoing:
    """The result of one command."""
    result = result_of(record, decode(record.value, StepCommand), at)
    return result_record(topics, record.partition, result, {})


async def main(role: str, bootstrap: str, prefix: str, dsn: str) -> None:
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_LOOKS)
    chain = FairChain(Topics(TopicsSettings(prefix=prefix)), bootstrap)
    if role == "router":
        await chain.run_router()
    elif role == "sink":
        await chain.run_writer(dsn)
    else:
        await chain.run_worker(role)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=ROLES)
    for name in ("bootstrap", "prefix", "dsn"):
        parser.add_argument(name)
    given = parser.parse_args()
    asyncio.run(main(given.role, given.bootstrap, given.prefix, given.dsn))
