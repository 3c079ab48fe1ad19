"""Follows whole topics from given offsets, without a group: every process reads all records."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from schemas.dead_letter import Origin
from streams.errors import KafkaUnavailableError
from streams.kafka.consumers import ungrouped_consumer
from streams.kafka.fetch.records import origin_of
from streams.kafka.log_reader import LogReader
from streams.kafka.refusal import unavailable, why_unavailable
from streams.settings import KafkaSettings

Place = tuple[str, int]
"""A topic and one of its partitions."""

_POLL_MS = 200
# A batch is handled without yielding to other coroutines: some milliseconds.
_BATCH_MAX = 200
_FETCH_WAIT_MS = 2_000


class FollowedTooLateError(KafkaUnavailableError):
    """Records left a log before they were read: the state built from it has a gap. Begin anew."""


class Follower:
    """One consumer for some partitions. While no broker answers it waits, and then goes on."""

    def __init__(self, kafka: KafkaSettings, *, client_id: str) -> None:
        self._kafka = kafka
        self._timeout_s = kafka.request_timeout_s
        # On a connection of its own: a broker answers the requests of one connection in order,
        # so a question would wait behind the long poll of the fetches.
        # Reads every acknowledged record, also those behind an open transaction: a client that
        # waits for such a record must not get the answer that it does not exist.
        self._ends = LogReader(kafka, client_id=f"{client_id}-ends", committed=False)
        self._consumer = ungrouped_consumer(
            kafka, client_id=client_id, committed=True, fetch_max_wait_ms=_FETCH_WAIT_MS
        )
        self._positions: dict[Place, int] = {}
        self._waiting: dict[Place, list[tuple[int, asyncio.Future[None]]]] = defaultdict(list)

    async def __aenter__(self) -> Follower:
        """Connect; KafkaUnavailableError if no broker answers, or if it refuses us."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._consumer.start()
            await self._ends.__aenter__()
        except (KafkaError, TimeoutError) as error:
            raise await why_unavailable(self._kafka, error) from error
        except BaseException:
            await self._consumer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for waiting in self._waiting.values():
            for _offset, future in waiting:
                future.cancel()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._consumer.stop()
            await self._ends.__aexit__(None, None, None)
        except (KafkaError, TimeoutError) as error:
            raise KafkaUnavailableError(repr(error)) from error

    async def run(
        self, starts: Mapping[Place, int], handle: Callable[[Sequence[Origin]], None]
    ) -> None:
        """Give all records from ``starts`` on to ``handle``, in order within a partition.

        Never returns; cancel it.

        Raises:
            FollowedTooLateError: some records are gone from the log.
            KafkaUnavailableError: the consumer failed; run again with another one, from
                :attr:`positions` on.
        """
        tps = [TopicPartition(*place) for place in starts]
        self._consumer.assign(tps)
        for tp in tps:
            self._consumer.seek(tp, starts[tp.topic, tp.partition])
        self._positions = dict(starts)
        try:
            while True:
                fetched = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH_MAX)
                for records in fetched.values():
                    handle([origin_of(record) for record in records])
                await self._note_positions(tps, fetched)
                # With full buffers getmany never suspends: yield to other coroutines.
                await asyncio.sleep(0)
        except OffsetOutOfRangeError as error:
            raise FollowedTooLateError(repr(error)) from error
        except KafkaError as error:
            raise unavailable(error) from error

    @property
    def positions(self) -> Mapping[Place, int]:
        """The offset up to which each partition was handled."""
        return self._positions

    def behind(self) -> dict[str, int]:
        """By topic, the records that were in the log at the last fetch and are not handled yet."""
        found: dict[str, int] = {}
        for (topic, partition), position in self._positions.items():
            end = self._consumer.highwater(TopicPartition(topic, partition)) or 0
            found[topic] = found.get(topic, 0) + max(0, end - position)
        return found

    async def catch_up(self, places: Sequence[Place], *, timeout_s: float) -> None:
        """Return when every record that these partitions have now was handled.

        Raises:
            KafkaUnavailableError: no broker answers, or it takes too long.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self.reached(await self._ends.ends(places))
        except TimeoutError as error:
            raise KafkaUnavailableError(f"the ends of the logs: {error!r}") from error

    async def reached(self, ends: Mapping[Place, int]) -> None:
        """Return when these partitions were handled up to these offsets; unbounded."""
        loop = asyncio.get_running_loop()
        futures = []
        for place, end in ends.items():
            if self._positions.get(place, 0) < end:
                future: asyncio.Future[None] = loop.create_future()
                self._waiting[place].append((end, future))
                futures.append(future)
        if futures:
            await asyncio.gather(*futures)

    async def _note_positions(
        self, tps: Sequence[TopicPartition], fetched: Mapping[TopicPartition, Sequence[Any]]
    ) -> None:
        """Note how far each partition was handled.

        By position where somebody waits, and of all after a poll that brought nothing: transaction
        markers are offsets without a record. Otherwise by record: asking for each position costs
        more than a small poll.
        """
        for tp in tps:
            place = (tp.topic, tp.partition)
            waiting = self._waiting.get(place)
            if waiting or not fetched:
                self._positions[place] = int(await self._consumer.position(tp))
            elif records := fetched.get(tp):
                self._positions[place] = records[-1].offset + 1
            if not waiting:
                continue
            for end, future in waiting:
                if end <= self._positions[place] and not future.done():
                    future.set_result(None)
            waiting[:] = [pair for pair in waiting if not pair[1].done()]
