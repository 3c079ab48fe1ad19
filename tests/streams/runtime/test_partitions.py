"""A handler that makes way leaves nothing behind: its successor gets all that is not done."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streams.errors import (
    ClockDiffersError,
    KafkaUnavailableError,
    LogTrimmedError,
    OwnershipLostError,
    PublishRefusedError,
    TopicReplacedError,
)
from streams.kafka.publisher import Publisher
from streams.runtime.app import App, create_app
from streams.runtime.batches import batches
from streams.runtime.delivery import Delivery
from streams.runtime.partitions import Partitions
from streams.settings import KafkaSettings
from tests.streams.building import a_record, until

REFUSED = PublishRefusedError("t", 0, "PolicyViolation", too_large=False)


class Group:
    """An application as far as its partitions know it."""

    def __init__(self) -> None:
        self.pending: set[Delivery] = set()
        self.drainables: list[object] = []
        self.standing: set[int] = set()
        self.kafka = KafkaSettings(session_timeout_s=6)
        self.conf = SimpleNamespace(id="g")
        self.consumer = SimpleNamespace(done=lambda tp, offset: self.acked.append(offset))
        self.epoch = self.consumer_generation_id = 1
        self.acked: list[int] = []
        self.failures: list[BaseException | None] = []

    def delivery(self, offset: int) -> Delivery:
        tp, record = (
            SimpleNamespace(topic="t", partition=0),
            SimpleNamespace(offset=offset, value=b""),
        )
        made = Delivery(self, tp, record)
        self.pending.add(made)
        return made

    def fail(self, reason: str, error: BaseException | None = None, *, leave: bool = False) -> None:
        self.failures.append(error)


class Handler:
    """Keeps the first delivery, as an owner holds a command; the first handler fails then."""

    def __init__(self, error: Exception | None, *, acks: int = 0) -> None:
        self.error = error
        self.acks = acks
        self.kept: list[Delivery] = []
        self.given: list[int] = []

    async def open(self) -> None:
        """Nothing to take over."""

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        self.given += [delivery.offset for delivery in deliveries]
        if self.error is not None and self.kept:
            for delivery in deliveries[: self.acks]:
                delivery.ack()
            raise self.error
        if self.error is not None:
            self.kept = list(deliveries)
            return
        for delivery in deliveries:
            delivery.ack()

    def unfinished(self) -> list[Delivery]:
        return self.kept

    def wakeup_s(self) -> float | None:
        return None


@pytest.mark.parametrize("acks", [0, 1])
@pytest.mark.parametrize(
    "error",
    [
        OwnershipLostError("x"),
        KafkaUnavailableError("x"),
        REFUSED,
        ClockDiffersError("x"),
        TopicReplacedError("x"),
    ],
    ids=lambda error: error.code,
)
async def test_the_successor_gets_what_was_kept_and_what_was_given_last(
    error: Exception, acks: int
) -> None:
    group = Group()
    first, second = Handler(error, acks=acks), Handler(None)
    handlers = iter([first, second])
    partitions = Partitions(cast(App, cast(Any, group)), lambda _: next(handlers))
    partitions.assigned(frozenset({0}))
    await partitions.give([group.delivery(1)])
    await until(lambda: first.given == [1])
    await partitions.give([group.delivery(2), group.delivery(3)])
    await until(lambda: len(group.acked) == 3)
    await partitions.drain(1.0)

    assert sorted(group.acked) == [1, 2, 3]
    assert second.given == [1, 2, 3][:1] + [2, 3][acks:]
    assert group.failures == []


class Waits:
    """A handler whose partition stands still until ``right``."""

    def __init__(self, right: asyncio.Event, seen: list[int]) -> None:
        self.right = right
        self.seen = seen

    async def open(self) -> None:
        if not self.right.is_set():
            raise LogTrimmedError("events are missing")

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self.seen.append(delivery.offset)
            delivery.ack()

    def unfinished(self) -> list[Delivery]:
        return []

    def wakeup_s(self) -> float | None:
        return None


async def test_a_partition_that_stands_still_holds_up_no_other(
    kafka: KafkaSettings, group: str, topics: list[str], publisher: Publisher
) -> None:
    right, always = asyncio.Event(), asyncio.Event()
    always.set()
    first: list[int] = []
    second: list[int] = []
    app = create_app(group, kafka)
    partitions = Partitions(app, lambda p: Waits(always, second) if p else Waits(right, first))

    @app.agent(app.topic(topics[0]))  # type: ignore[untyped-decorator]
    async def consume(stream: AsyncIterator[object]) -> None:
        async for batch in batches(stream):
            await partitions.give(batch)

    app.finalize()
    await app.maybe_start()
    try:
        # More than its inbox holds.
        for _ in range(6):
            await publisher.publish([a_record(topics[0], 0) for _ in range(1_000)])
        await publisher.publish([a_record(topics[0], 1) for _ in range(10)])
        await until(lambda: len(second) == 10)
        assert first == []

        right.set()
        await until(lambda: len(first) == 6_000)
    finally:
        await app.stop()

    assert first == list(range(6_000))


async def test_a_topic_whose_offsets_go_back_stops_the_process() -> None:
    group, handler = Group(), Handler(None)
    partitions = Partitions(cast(App, cast(Any, group)), lambda _: handler)
    partitions.assigned(frozenset({0}))
    await partitions.give([group.delivery(7), group.delivery(0)])
    await until(lambda: handler.given == [7])
    await partitions.drain(1.0)

    [error] = group.failures
    assert isinstance(error, TopicReplacedError)
    assert group.acked == [7]


async def test_any_other_error_of_a_handler_stops_the_process() -> None:
    group = Group()
    fault = RuntimeError("a fault of ours")
    partitions = Partitions(cast(App, cast(Any, group)), lambda _: Handler(fault))
    partitions.assigned(frozenset({0}))
    await partitions.give([group.delivery(1)])
    await asyncio.sleep(0)
    await partitions.give([group.delivery(2)])
    await until(lambda: bool(group.failures))
    await partitions.drain(1.0)

    assert group.failures == [fault]
