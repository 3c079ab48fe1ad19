"""Builders for tests of streams."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from schemas.topics import Topic
from streams.kafka.publisher import Outgoing
from streams.runtime.app import App, create_app
from streams.runtime.batches import batches
from streams.runtime.delivery import Delivery
from streams.runtime.window import AtOnce, InFlightWindow
from streams.settings import KafkaSettings

Work = Callable[[Delivery], Awaitable[None]]
WAIT_S = 30.0


def a_topic(name: str, partitions: int = 2) -> Topic:
    """A topic that keeps its records, whatever time they say they are of."""
    return Topic(
        name=name,
        record=None,
        written_by="",
        read_by="",
        partitions=partitions,
        replication_factor=1,
        max_bytes=5_000_000,
        retention_ms=-1,
    )


def a_record(topic: str, partition: int = 0, value: bytes | None = b"v") -> Outgoing:
    return Outgoing(topic=topic, partition=partition, key=b"k", value=value)


@asynccontextmanager
async def a_consumer(
    group: str,
    kafka: KafkaSettings,
    topics: Sequence[str],
    work: Work,
    at_once: AtOnce | None = None,
) -> AsyncIterator[App]:
    """An application that runs ``work`` on every record, stopped without a drain."""
    app = create_app(group, kafka)
    weights = dict.fromkeys(topics, 1)
    window = InFlightWindow(app, work, weights=weights, at_once=at_once, slots=8)

    @app.agent(app.topic(*topics))  # type: ignore[untyped-decorator]
    async def consume(stream: AsyncIterator[object]) -> None:
        async for batch in batches(stream):
            window.offer(batch)

    async with AsyncExitStack() as stack:
        app.finalize()
        await app.maybe_start()
        stack.push_async_callback(app.stop)
        yield app
        # What still runs must not outlive the test.
        stack.push_async_callback(window.drain, 0.0)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most ``WAIT_S``."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110  # conditions of other people's state
            await asyncio.sleep(0.02)
