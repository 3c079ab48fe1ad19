"""The one producer of a process: idempotent, acks=all, one batch per partition at a time."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidTimestampError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedForMessageFormatError,
    kafka_errors,
)
from aiokafka.structs import TopicPartition
from msgspec import Struct, field

from schemas.headers import Headers
from streams.errors import PublishError, PublishRefusedError
from streams.kafka.connection import producer
from streams.kafka.refusal import why_unavailable
from streams.settings import KafkaSettings

# Bytes in one request to one partition. A larger single record (an event may have 4 MiB)
# is still sent, as a batch of its own.
_BATCH_MAX_BYTES = 512 * 1024
_REQUEST_MAX_BYTES = 5 * 1024 * 1024


class InvalidRecordRefusedError(KafkaError):  # type: ignore[misc]
    """Kafka's ``INVALID_RECORD``, which aiokafka does not know and treats as an unknown error."""

    errno = 87
    message = "INVALID_RECORD"
    description = "The broker failed to validate a record, such as one without a key."


kafka_errors.setdefault(InvalidRecordRefusedError.errno, InvalidRecordRefusedError)

log = structlog.get_logger()

_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
# The broker checks these before it appends anything.
_REFUSALS = (
    *_TOO_LARGE,
    ClusterAuthorizationFailedError,
    InvalidRecordRefusedError,
    InvalidTimestampError,
    InvalidTopicError,
    PolicyViolationError,
    TopicAuthorizationFailedError,
    UnsupportedForMessageFormatError,
)
_GATHER_MAX_S = 0.005
_LOG_APPEND_TIME = 1
_SAY_AGAIN_S = 60.0
_NOT_SENT = (*_REFUSALS, UnknownTopicOrPartitionError)
# By default aiokafka gives up a batch while its partition has no leader. The number of the batch is
# used by then, and the broker would not accept a later one. A batch without a time limit keeps its
# number, and its outcome becomes known when the broker is back.
_BATCH_TTL_S = float("inf")

_Target = tuple[str, int]
_Waiting = tuple["Outgoing", "_Publication", int]
"""A record, its call, and its place in the call."""


class Outgoing(Struct, frozen=True, kw_only=True):
    """A record to be published."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = field(default_factory=list)
    timestamp_ms: int | None = None
    """None: the time of sending."""

    def __repr__(self) -> str:
        """Without key and value, which must not get into a log."""
        return f"Outgoing({self.topic}/{self.partition}, {self.size} bytes)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """As ``repr``; rich would show every field."""
        return [("topic", self.topic), ("partition", self.partition)]

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        headers = sum(len(name.encode()) + len(value or b"") for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers


class Publisher:
    """Publishes records as batches and waits for their acknowledgement.

    One batch is outstanding for each partition. Until its request is made, records join it; those
    that are published later go with the next one. So many callers share a batch, no caller waits
    for a timer, and records of one partition are written in the order of the calls.

    While the broker is down, batches wait and are sent again under the same number: the broker
    writes each batch once and returns its offset in the end. A caller that must answer sooner stops
    waiting.
    """

    def __init__(self, kafka: KafkaSettings, *, client_id: str, gather_turns: int = 0) -> None:
        """Begin without a connection.

        Args:
            kafka: the connection.
            client_id: as brokers know it.
            gather_turns: a batch is sent after this many turns of the event loop without a call
                of :meth:`publish`, or 5 ms after it could have been. Many calls of one record
                then share a request, also of a broker that answers faster than they come. No
                timer is waited for, so a call without company loses some ten microseconds.
        """
        self._kafka = kafka
        self._client_id = client_id
        self._gather_turns = gather_turns
        self._calls = 0
        self._timeout_s = kafka.request_timeout_s
        self._producer: AIOKafkaProducer
        self._waiting: dict[_Target, deque[_Waiting]] = defaultdict(deque)
        self._senders: dict[_Target, asyncio.Task[None]] = {}
        self._queued: dict[_Target, _Queued] = {}
        """Batches that wait until their broker has answered the request before."""
        self._alone: dict[_Target, int] = defaultdict(int)
        """How many of the next records are sent one by one, because a batch of them was refused."""
        self._said_s = -_SAY_AGAIN_S
        self._append_times_ms: dict[_Target, int] = {}
        """The broker's time of the last batch, if its topic has broker times."""

    async def open(self) -> None:
        """Connect.

        Raises:
            KafkaUnavailableError: no broker answered, or it refused us; nothing was sent.
        """
        # Created here, not in `__init__`: aiokafka warns about a producer that is dropped
        # unstarted.
        self._producer = producer(
            self._kafka,
            client_id=self._client_id,
            linger_ms=0,
            max_batch_size=_BATCH_MAX_BYTES,
            max_request_size=_REQUEST_MAX_BYTES,
        )
        try:
            await self._bounded(self._producer.start())
        except BaseException as error:
            # Also if it is cancelled, as when another role of the process cannot start.
            with suppress(PublishError):
                await self._bounded(self._producer.stop())
            if isinstance(error, PublishError):
                raise await why_unavailable(self._kafka, error) from error
            raise
        self._producer._message_accumulator._batch_ttl = _BATCH_TTL_S

    async def close(self) -> None:
        """Send the waiting records, then disconnect.

        Raises:
            PublishError: not all records were acknowledged in time.
        """
        if self._senders:
            await asyncio.wait(self._senders.values(), timeout=self._timeout_s)
        await self._bounded(self._producer.stop())

    async def partitions(self, topic: str) -> int:
        """The number of partitions of a topic.

        Raises:
            PublishError: the broker did not answer.
        """
        return len(await self._bounded(self._producer.partitions_for(topic)))

    async def publish(self, records: Sequence[Outgoing]) -> list[int]:
        """Publish records; return when all are acknowledged by all in-sync replicas.

        A caller that is cancelled stops waiting; its records are written anyway.

        Returns:
            The offset of each record, in the order given; -1 if the broker already had the batch
            and does not return its offset.

        Raises:
            PublishRefusedError: the broker refused a record; see that class.
            PublishError: it is unknown which records were written: stop, and let the successor
                read the log.
        """
        if not records:
            return []
        loop = asyncio.get_running_loop()
        self._calls += 1
        publication = _Publication(loop.create_future(), len(records))
        for place, record in enumerate(records):
            target = record.topic, record.partition
            waiting = self._waiting[target]
            queued = None if waiting else self._queued.get(target)
            if queued is not None and queued.takes((record, publication, place)):
                continue
            waiting.append((record, publication, place))
            if target not in self._senders:
                self._senders[target] = loop.create_task(self._send(target))
        return await publication.written

    async def append_time_ms(self, record: Outgoing) -> int | None:
        """Publish one record; return the broker's time of it, Unix milliseconds.

        Returns None if its topic keeps the publisher's times. Raises as :meth:`publish`.
        """
        self._append_times_ms.pop((record.topic, record.partition), None)
        await self.publish([record])
        return self._append_times_ms.pop((record.topic, record.partition), None)

    async def _send(self, target: _Target) -> None:
        """Send the waiting records of one partition, a batch at a time, then end."""
        waiting = self._waiting[target]
        try:
            while waiting:
                await self._gathered()
                await self._send_batch(target, waiting)
        finally:
            del self._senders[target]

    async def _gathered(self) -> None:
        """Return when no call came for some turns of the event loop, or after a short time."""
        loop = asyncio.get_running_loop()
        until_s, calls, left = loop.time() + _GATHER_MAX_S, self._calls, self._gather_turns
        while left and loop.time() < until_s:
            await asyncio.sleep(0)
            left -= 1
            if self._calls != calls:
                calls, left = self._calls, self._gather_turns

    async def _send_batch(self, target: _Target, waiting: deque[_Waiting]) -> None:
        taken, batch = list[_Waiting](), None
        alone = self._alone[target] > 0
        try:
            builder = self._filled(target, waiting, taken)
            if not taken:
                return
            delivery = await self._producer.send_batch(builder, target[0], partition=target[1])
            # Nothing was awaited since it was queued: it is still the last one in there.
            batch = self._producer._message_accumulator._batches[TopicPartition(*target)][-1]
            if not alone:
                self._queued[target] = _Queued(batch, builder, taken)
            waits = asyncio.get_running_loop().call_later(self._timeout_s, self._say, target)
            try:
                landed = await delivery
            finally:
                waits.cancel()
                self._queued.pop(target, None)
            base = landed.offset
            if landed.timestamp_type == _LOG_APPEND_TIME:
                self._append_times_ms[target] = landed.timestamp
        # Every error here must reach the callers that wait for the batch.
        except Exception as error:
            self._not_written(target, taken, error, batch)
        except BaseException:
            _fail(taken, PublishError(f"{target[0]}[{target[1]}]: the sender was cancelled"))
            raise
        else:
            for position, (_, publication, place) in enumerate(taken):
                publication.landed(place, base + position if base >= 0 else -1)

    def _say(self, target: _Target) -> None:
        """Log that a batch is not acknowledged; at most once a minute for all batches."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._said_s >= _SAY_AGAIN_S:
            self._said_s = now_s
            topic, partition = target
            waiting = len(self._senders)
            log.warning("publish_waits", topic=topic, partition=partition, partitions=waiting)

    def _filled(self, target: _Target, waiting: deque[_Waiting], taken: list[_Waiting]) -> Any:
        """Make a batch of waiting records; ``taken`` gets the records in it."""
        builder = self._producer.create_batch()
        alone = self._alone[target] > 0
        while waiting and not (alone and taken):
            record, publication, _ = waiting[0]
            if publication.refused_in(target):
                waiting.popleft()
                publication.left_out()
                self._alone[target] = max(0, self._alone[target] - 1)
                continue
            # Taken before it is appended: an error is then raised in its caller.
            taken.append(waiting.popleft())
            if _append(builder, record):
                continue
            if len(taken) == 1:
                raise MessageSizeTooLargeError("the record does not fit into an empty batch")
            waiting.appendleft(taken.pop())
            break
        self._alone[target] = max(0, self._alone[target] - len(taken))
        return builder

    def _not_written(
        self, target: _Target, taken: Sequence[_Waiting], error: Exception, batch: Any
    ) -> None:
        """Classify a batch that failed: certainly refused, or of unknown outcome."""
        topic, partition = target
        sent = batch is not None
        # A batch that was sent again may have been written the first time.
        sure = not sent or batch.retry_count <= 1
        if not (sure and isinstance(error, _REFUSALS if sent else _NOT_SENT)):
            _fail(taken, PublishError(f"{topic}[{partition}]: {error!r}"))
            return
        if sent:
            # The broker has not seen any of these numbers, and expects them next.
            transactions = self._producer._txn_manager
            transactions.increment_sequence_number(TopicPartition(*target), -len(taken))
        if len(taken) > 1 and sent:
            self._waiting[target].extendleft(reversed(taken))
            self._alone[target] += len(taken)
            return
        too_large = isinstance(error, _TOO_LARGE)
        reason = type(error).__name__.removesuffix("Error")
        for _, publication, _ in taken:
            publication.refused(
                target, PublishRefusedError(topic, partition, reason, too_large=too_large)
            )

    async def _bounded(self, awaitable: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await awaitable
        except (KafkaError, TimeoutError) as error:
            raise PublishError(f"the producer got no answer: {error!r}") from error


class _Queued:
    """A batch that was given to aiokafka, and is open until aiokafka makes its request."""

    __slots__ = ("_batch", "_builder", "_taken")

    def __init__(self, batch: Any, builder: Any, taken: list[_Waiting]) -> None:
        self._batch = batch
        self._builder = builder
        self._taken = taken

    def takes(self, waiting: _Waiting) -> bool:
        """Add a record; False if the batch is full, or its request is made.

        The numbers of its records are given out with the request. A record that is added later
        would get the number of the next batch's first record.
        """
        if self._batch.retry_count:
            return False
        try:
            fits = _append(self._builder, waiting[0])
        except Exception:  # raised again in a batch of its own, for its caller
            return False
        if fits:
            self._taken.append(waiting)
        return fits


class _Publication:
    """The records of one call, until all of them are settled."""

    __slots__ = ("_error", "_left", "_offsets", "_refused", "written")

    def __init__(self, written: asyncio.Future[list[int]], count: int) -> None:
        self.written = written
        self._offsets = [-1] * count
        self._left = count
        self._error: PublishError | PublishRefusedError | None = None
        self._refused: set[_Target] = set()

    def landed(self, place: int, offset: int) -> None:
        self._offsets[place] = offset
        self._settle()

    def failed(self, error: PublishError) -> None:
        # An unknown outcome takes precedence: the caller has to stop.
        if not isinstance(self._error, PublishError):
            self._error = error
        self._settle()

    def refused(self, target: _Target, error: PublishRefusedError) -> None:
        """A record was refused; later ones of the same partition must not be written."""
        self._refused.add(target)
        self._error = self._error or error
        self._settle()

    def refused_in(self, target: _Target) -> bool:
        return target in self._refused

    def left_out(self) -> None:
        """A record was not sent, because an earlier one was refused."""
        self._settle()

    def _settle(self) -> None:
        self._left -= 1
        # A cancelled caller no longer waits.
        if self._left or self.written.done():
            return
        if self._error is None:
            self.written.set_result(self._offsets)
        else:
            self.written.set_exception(self._error)


def _fail(taken: Sequence[_Waiting], error: PublishError) -> None:
    for _, publication, _ in taken:
        publication.failed(error)


def _append(builder: Any, record: Outgoing) -> bool:
    appended = builder.append(
        timestamp=record.timestamp_ms,
        key=record.key,
        value=record.value,
        headers=record.headers,
    )
    return appended is not None
