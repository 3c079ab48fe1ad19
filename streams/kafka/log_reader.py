"""Reads a partition from an offset to its end, outside of any group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence, Set
from contextlib import suppress
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from schemas.dead_letter import Origin
from streams.errors import KafkaUnavailableError
from streams.kafka.consumers import ungrouped_consumer
from streams.kafka.fetch.records import origin_of
from streams.kafka.fetch.waiting import let_fetches_wait
from streams.kafka.refusal import unavailable, why_unavailable
from streams.settings import KafkaSettings

_POLL_MS = 500
_CLOSE_S = 1.0
_FETCH_WAIT_MS = 100
_FOLLOW_WAIT_MS = 1_000
"""Each of many workers follows a topic in which nearly nothing happens."""


class LogReader:
    """A consumer without a group, for recovery, catching up, and the ``tail`` command.

    Every wait is bounded by ``request_timeout_s``; after it the reader raises a
    :class:`KafkaUnavailableError`, and reading again from the last offset is safe.

    Args:
        kafka: the brokers and the timeouts.
        client_id: how the connection appears in the broker's logs.
        committed: see :func:`~streams.kafka.consumers.isolation_level`. If true, an end is the
            last stable offset, otherwise the offset of the next record.
    """

    def __init__(self, kafka: KafkaSettings, *, client_id: str, committed: bool = True) -> None:
        self._kafka = kafka
        self._timeout_s = kafka.request_timeout_s
        self._consumer = ungrouped_consumer(
            kafka, client_id=client_id, committed=committed, fetch_max_wait_ms=_FETCH_WAIT_MS
        )

    async def __aenter__(self) -> LogReader:
        """Connect; KafkaUnavailableError if no broker answers, or if it refuses us."""
        try:
            await self._started()
            # aiokafka has made a task that its stop cancels. If that task has not begun by then, it
            # ends the stop itself, with a cancellation that looks like one of ours.
            await asyncio.sleep(0)
        except BaseException:
            # Cancelled, or no broker: close the open connections, and do not raise again.
            with suppress(KafkaUnavailableError):
                await self._bounded(self._consumer.stop())
            raise
        return self

    async def _started(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._consumer.start()
        except (KafkaError, TimeoutError) as error:
            raise await why_unavailable(self._kafka, error) from error

    async def __aexit__(self, *_: object) -> None:
        # If it is closed during a new assignment, aiokafka's fetcher swallows the cancellation
        # of its task, and the close would wait for that task until the timeout.
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._bounded(self._consumer.stop())

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset that a partition still has, and the offset of its next record."""
        tp = TopicPartition(topic, partition)
        first = await self._bounded(self._consumer.beginning_offsets([tp]))
        end = await self._bounded(self._consumer.end_offsets([tp]))
        return int(first[tp]), int(end[tp])

    async def all_bounds(
        self, partitions: Sequence[tuple[str, int]]
    ) -> dict[tuple[str, int], tuple[int, int]]:
        """The :meth:`bounds` of many partitions at once."""
        tps = [TopicPartition(topic, partition) for topic, partition in partitions]
        await self._bounded(self._learn_of({tp.topic for tp in tps}))
        first = await self._bounded(self._consumer.beginning_offsets(tps))
        ends = await self._bounded(self._consumer.end_offsets(tps))
        return {(tp.topic, tp.partition): (int(first[tp]), int(ends[tp])) for tp in tps}

    async def ends(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The offset that the next record of each of these partitions gets.

        May be called at any time, also during a read.
        """
        tps = [TopicPartition(topic, partition) for topic, partition in partitions]
        await self._bounded(self._learn_of({tp.topic for tp in tps}))
        found = await self._bounded(self._consumer.end_offsets(tps))
        return {(tp.topic, tp.partition): int(offset) for tp, offset in found.items()}

    async def _learn_of(self, topics: Set[str]) -> None:
        """Get the leaders of topics in one request.

        aiokafka would ask for one topic at a time, with a pause of 0.1 s after each. A topic that
        does not exist stays unknown.
        """
        client = self._consumer._client
        # A request that is on its way may have been sent without the new topics.
        for _ in range(2):
            unknown = {one for one in topics if client.cluster.partitions_for_topic(one) is None}
            if not unknown:
                return
            for topic in unknown:
                client.add_topic(topic)
            await client.force_metadata_update()

    async def offset_at(self, topic: str, partition: int, time_ms: int) -> int:
        """The first offset whose record is not before a time (Unix ms); otherwise the end."""
        tp = TopicPartition(topic, partition)
        found = await self._bounded(self._consumer.offsets_for_times({tp: max(0, time_ms)}))
        if found[tp] is not None:
            return int(found[tp].offset)
        return (await self.bounds(topic, partition))[1]

    async def partitions(self, topic: str) -> list[int]:
        """The partitions of a topic, in order."""
        await self._bounded(self._consumer._client._wait_on_metadata(topic))
        return sorted(self._consumer.partitions_for_topic(topic) or ())

    async def all_partitions(self, topics: Sequence[str]) -> list[tuple[str, int]]:
        """The partitions of many topics in one request; a missing topic has no partitions."""
        client, known = self._consumer._client, self._consumer.partitions_for_topic
        await self._bounded(client.set_topics(topics))
        if any(known(topic) is None for topic in topics):
            # The answer belongs to an earlier request, or a topic is really missing.
            await self._bounded(client.force_metadata_update())
        return [(topic, p) for topic in topics for p in sorted(known(topic) or ())]

    def read(
        self, topic: str, partition: int, start: int, end: int
    ) -> AsyncGenerator[Sequence[Origin], None]:
        """Yield the records with ``start <= offset < end`` in batches, in order.

        Offsets may have holes (compaction, transaction markers); the end is recognized by
        position. Only one read of a reader may run at a time.

        Raises:
            KafkaUnavailableError: no progress within the timeout, or the start no longer exists.
        """
        return self.read_all({(topic, partition): (start, end)})

    async def read_all(
        self, bounds: Mapping[tuple[str, int], tuple[int, int]]
    ) -> AsyncGenerator[Sequence[Origin], None]:
        """Read many partitions at once, each as :meth:`read` does; a batch is of one partition.

        One assignment for all: a new assignment costs more than reading a short partition.
        """
        left = {TopicPartition(*at): ends for at, ends in bounds.items() if ends[0] < ends[1]}
        if not left:
            return
        let_fetches_wait(self._consumer, _FETCH_WAIT_MS)
        self._consumer.assign(list(left))
        for tp, (start, _) in left.items():
            self._consumer.seek(tp, start)
        waited_s = 0.0
        while left:
            fetched = await self._bounded(self._consumer.getmany(*left, timeout_ms=_POLL_MS))
            for tp, records in fetched.items():
                batch = [origin_of(record) for record in records if record.offset < left[tp][1]]
                if batch:
                    yield batch
            waited_s = 0.0 if await self._move(left) else waited_s + _POLL_MS / 1000
            if waited_s > self._timeout_s:
                raise KafkaUnavailableError(_described(left))

    async def _move(self, left: dict[TopicPartition, tuple[int, int]]) -> bool:
        """Note how far each partition was read, drop finished ones; True if any of them moved."""
        moved = False
        for tp, (position, end) in list(left.items()):
            reached = int(await self._bounded(self._consumer.position(tp)))
            moved = moved or reached > position
            left[tp] = (reached, end)
            if reached >= end:
                del left[tp]
        return moved

    def follow(self, topic: str, starts: dict[int, int]) -> AsyncGenerator[Sequence[Origin], None]:
        """Yield records of several partitions from ``starts`` on, for ever."""
        return self.follow_all({(topic, partition): at for partition, at in starts.items()})

    async def follow_all(
        self, starts: dict[tuple[str, int], int]
    ) -> AsyncGenerator[Sequence[Origin], None]:
        """Yield records of partitions of several topics from ``starts`` on, for ever.

        A question for ends or bounds meanwhile waits up to a second.
        """
        tps = [TopicPartition(*place) for place in starts]
        let_fetches_wait(self._consumer, _FOLLOW_WAIT_MS)
        self._consumer.assign(tps)
        for tp in tps:
            self._consumer.seek(tp, starts[tp.topic, tp.partition])
        while True:
            fetched = await self._bounded(self._consumer.getmany(*tps, timeout_ms=_FOLLOW_WAIT_MS))
            for records in fetched.values():
                yield [origin_of(record) for record in records]

    async def _bounded(self, awaitable: Any) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await awaitable
        except TimeoutError as error:
            # aiokafka asks again and again for a topic that it may not describe.
            hidden = sorted(self._consumer._client.cluster.unauthorized_topics)
            cause = TopicAuthorizationFailedError(*hidden) if hidden else error
            raise unavailable(cause) from error
        except KafkaError as error:
            raise unavailable(error) from error


def _described(left: Mapping[TopicPartition, tuple[int, int]]) -> str:
    tp, (position, end) = next(iter(left.items()))
    others = f"; {len(left) - 1} others wait, too" if len(left) > 1 else ""
    return f"{tp.topic}[{tp.partition}] stands at {position}, its end is {end}{others}"
