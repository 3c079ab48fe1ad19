"""Batches as hostile producers of any client send them: compressed, transactional, broken.

Whatever is in them, the broker judges it first; what it takes has to be processed, or has to be a
dead letter, or, if its transaction was aborted, has to have no effect at all.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.codec import encode
from schemas.records import StepName, TaskCreated
from tests.e2e.driving import Running, a_rag_task
from tests.e2e.hostile import Hostile
from tests.streams.kafka.batches import CODECS, RawBuilder, a_batch, resealed, with_codec

Position = tuple[str, int, int]

_SLICE = 25
_REQUEST_MAX_BYTES = 4_000_000
_OVERSIZE_BYTES = 6_000_000
"""Beyond what a record may have, in a batch of some KB."""
_BOMB_BYTES = 70_000_000
"""Beyond what a reader decompresses."""


@dataclass
class Sent:
    """What was sent, and what has to become of it."""

    records: dict[Position, Hostile] = field(default_factory=dict)
    """Each is processed, or becomes a dead letter, as it says."""
    aborted: dict[Position, Hostile] = field(default_factory=dict)
    """None of these may have any effect."""
    good: list[TaskCreated] = field(default_factory=list)
    """Have to complete."""
    never: list[TaskCreated] = field(default_factory=list)
    """Were in transactions that were aborted: must not exist."""
    kinds: Counter[str] = field(default_factory=Counter)
    """How many batches of each kind were sent."""
    refused: Counter[str] = field(default_factory=Counter)
    """How many of them the broker refused."""


class HostileProducers:
    """Sends records in batches of all kinds in turn.

    Args:
        running: the system.
        rng: chooses the records of transactions that are aborted.
        timeout_ms: that good tasks have.
    """

    def __init__(self, running: Running, rng: random.Random, *, timeout_ms: int) -> None:
        self.sent = Sent()
        self._running = running
        self._rng = rng
        self._timeout_ms = timeout_ms
        self._plain: dict[str, AIOKafkaProducer] = {}
        self._transactional: list[AIOKafkaProducer] = []
        self._raw: AIOKafkaProducer = None
        self._ways: Iterator[str] = cycle(["plain", *CODECS, "committed"])
        self._open: list[Hostile] = []
        self._turn = 0

    async def send(self, topic: str, records: Sequence[Hostile]) -> None:
        """Send records of one topic, some in one batch, some in another."""
        for begin in range(0, len(records), _SLICE):
            piece, way = records[begin : begin + _SLICE], next(self._ways)
            if way != "committed":
                await self._publish(self._plain[way], piece)
            else:
                async with self._transactional[0].transaction():
                    await self._publish(self._transactional[0], piece)
            self.sent.kinds[way] += 1

    async def abort(self, records: Sequence[Hostile]) -> None:
        """Send some of these records, and a good task, in a transaction that is aborted."""
        producer, task = self._transactional[0], self._a_task()
        await producer.begin_transaction()
        some = self._foreign(records)
        await self._publish(producer, [*some, _as_record(self._running, task)], aborted=True)
        await producer.abort_transaction()
        self.sent.never.append(task)
        self.sent.kinds["aborted"] += 1

    async def begin(self, records: Sequence[Hostile]) -> None:
        """Send some of these records, and a good task, in a transaction that stays open."""
        producer, task = self._transactional[1], self._a_task()
        await producer.begin_transaction()
        self._turn += 1
        commits = self._turn % 2 == 1
        (self.sent.good if commits else self.sent.never).append(task)
        some = [*self._foreign(records), _as_record(self._running, task)]
        await self._publish(producer, some, aborted=not commits)
        self.sent.kinds["left open"] += 1

    async def end(self) -> None:
        """End the transaction that was left open."""
        producer = self._transactional[1]
        await (producer.commit_transaction() if self._turn % 2 else producer.abort_transaction())

    async def send_broken(self) -> None:
        """Send one batch of each broken kind to each consumed topic."""
        topics = self._running.topics
        lane = topics.lanes(StepName("retrieve"))[0]
        inputs = (topics.task_created, topics.task_commands, topics.step_results, lane)
        for topic in (*inputs, topics.task_events):
            # An event may be as large as this; then it is none for another reason.
            code = None if topic == topics.task_events else "RECORD_TOO_LARGE"
            oversize = Hostile(topic, b"k", _equal(_OVERSIZE_BYTES), True, code, as_sent=False)
            await self._send_raw("oversize", oversize, _compressed(_OVERSIZE_BYTES))
            await self._send_raw("bomb", _lost(topic, "BATCH_TOO_LARGE"), _compressed(_BOMB_BYTES))
            no_utf8 = _named(b"name", b"\xff\xfe\xfd\xfc")
            await self._send_raw("header without UTF-8", _lost(topic, "RECORD_CORRUPT"), no_utf8)
            for codec in (5, 7):
                unknown = with_codec(a_batch([b"x"]), codec)
                await self._send_raw(f"codec {codec}", _lost(topic, "CODEC_UNKNOWN"), unknown)
            no_zstd = with_codec(a_batch([b"x"]), CODECS["zstd"])
            await self._send_raw("no zstd", _lost(topic, "BATCH_CORRUPT"), no_zstd)

    async def _send_raw(self, kind: str, record: Hostile, batch: bytes) -> None:
        self.sent.kinds[kind] += 1
        try:
            builder: Any = RawBuilder(batch, 1)
            placed = await (await self._raw.send_batch(builder, record.topic, partition=0))
        except KafkaError:
            self.sent.refused[kind] += 1
            return
        self.sent.records[record.topic, 0, placed.offset] = record

    async def _publish(
        self, producer: AIOKafkaProducer, records: Sequence[Hostile], *, aborted: bool = False
    ) -> None:
        sent = [await producer.send(one.topic, one.value, key=one.key) for one in records]
        kept = self.sent.aborted if aborted else self.sent.records
        for placed, one in zip(await asyncio.gather(*sent), records, strict=True):
            kept[placed.topic, placed.partition, placed.offset] = one

    def _foreign(self, records: Sequence[Hostile]) -> list[Hostile]:
        """Some records of topics that others may write; the log is read uncommitted."""
        log = self._running.topics.task_events
        return [one for one in self._rng.sample(records, 10) if one.topic != log]

    def _a_task(self) -> TaskCreated:
        return a_rag_task(timeout_ms=self._timeout_ms)


@asynccontextmanager
async def open_hostile_producers(
    running: Running, rng: random.Random, *, timeout_ms: int
) -> AsyncIterator[HostileProducers]:
    """Connect producers of all kinds."""
    producers = HostileProducers(running, rng, timeout_ms=timeout_ms)
    shared: dict[str, Any] = {"bootstrap_servers": running.bootstrap, "acks": "all"}
    large = {**shared, "max_request_size": _REQUEST_MAX_BYTES}
    producers._plain = {
        "plain": AIOKafkaProducer(**large, enable_idempotence=True),
        **{
            codec: AIOKafkaProducer(**large, enable_idempotence=True, compression_type=codec)
            for codec in CODECS
        },
    }
    producers._transactional = [
        AIOKafkaProducer(**large, transactional_id=f"hostile-{os.urandom(8).hex()}")
        for _ in range(2)
    ]
    producers._raw = AIOKafkaProducer(**shared)
    everyone = [*producers._plain.values(), *producers._transactional, producers._raw]
    for producer in everyone:
        await producer.start()
    try:
        yield producers
    finally:
        for producer in everyone:
            await producer.stop()


def _as_record(running: Running, task: TaskCreated) -> Hostile:
    topic = running.topics.task_created
    return Hostile(topic, task.task_id.encode(), encode(task), bad=False)


def _lost(topic: str, code: str) -> Hostile:
    """A record that nobody can take out of its batch."""
    return Hostile(topic, None, None, bad=True, code=code, as_sent=False)


def _equal(size: int) -> bytes:
    return b"a" * size


@cache
def _compressed(size: int) -> bytes:
    return a_batch([_equal(size)], codec=CODECS["gzip"])


def _named(name: bytes, instead: bytes) -> bytes:
    batch = a_batch([b"x"], headers=[(name.decode(), b"v")])
    return resealed(batch.replace(name, instead, 1))
