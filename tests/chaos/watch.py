"""Follows the log and the step topics of a running system, from outside and without a group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from tests.checker.waiting import ENDS
from tests.checker.wire import Position, decode

_POLL_MS = 200


@dataclass(slots=True)
class Watch:
    """What the log says up to now. Events of a zombie are counted and say nothing else."""

    created: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    causes: set[Position] = field(default_factory=set)
    """The inputs that were decided."""
    zombie_events: int = 0
    """Events of an owner that a later one had replaced before."""
    epochs: dict[int, int] = field(default_factory=dict)
    """The newest owner's epoch, by partition."""
    commands: dict[Position, str] = field(default_factory=dict)
    """Where step commands are, by their ids."""
    topics: dict[str, int] = field(default_factory=dict)
    """What is followed, with the partition counts."""
    reached: dict[tuple[str, int], int] = field(default_factory=dict)
    """The next offset of each followed partition."""

    async def until(self, condition: Callable[[], bool], *, timeout_s: float) -> None:
        """Wait for something in the log.

        Raises:
            TimeoutError: it did not happen.
        """
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110  # several waiters, one writer
                await asyncio.sleep(0.05)

    def note(self, topic: str, partition: int, offset: int, value: bytes | None) -> None:
        """Take one record."""
        if ".steps." in topic:
            command = decode(value, "StepCommand")
            if command is not None:
                self.commands[topic, partition, offset] = command["command_id"]
            return
        event = decode(value, "TaskEvent")
        if event is None:
            return
        newest = self.epochs.get(partition, 0)
        if event["owner_epoch"] < newest:
            # Its successor may have decided the same input: the zombie's `created` would
            # otherwise bring a task back that has ended.
            self.zombie_events += 1
            return
        self.epochs[partition] = event["owner_epoch"]
        if event["kind"] in ("created", "retried"):
            self.created.add(event["task_id"])
            self.ended.discard(event["task_id"])
        if event["kind"] in ENDS:
            self.ended.add(event["task_id"])
        if event["cause_offset"] >= 0:
            cause = (event["cause_topic"], event["cause_partition"], event["cause_offset"])
            self.causes.add(cause)


@asynccontextmanager
async def open_watch(bootstrap: str, topics: dict[str, int]) -> AsyncIterator[Watch]:
    """Follow these topics (by name, with their partition counts) from their beginnings."""
    watch = Watch(topics=topics)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="earliest"
    )
    await consumer.start()
    consumer.assign([TopicPartition(t, p) for t, count in topics.items() for p in range(count)])
    following = asyncio.create_task(_follow(consumer, watch))
    try:
        yield watch
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await consumer.stop()


async def _follow(consumer: AIOKafkaConsumer, watch: Watch) -> None:
    while True:
        try:
            fetched = await consumer.getmany(timeout_ms=_POLL_MS)
        except KafkaError:
            # The broker is away: it is what some tests are about.
            await asyncio.sleep(_POLL_MS / 1000)
            continue
        for tp, records in fetched.items():
            for record in records:
                watch.note(tp.topic, tp.partition, record.offset, record.value)
            watch.reached[tp.topic, tp.partition] = records[-1].offset + 1
