"""The one producer of a process: idempotent, acks=all, one batch per partition at a time."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.headers import Headers
from streams.errors import PublishError
from streams.settings import KafkaSettings

# Records of one request to one partition. A larger single record (an event may have 4 MiB)
# still goes, as a batch of its own.
_BATCH_MAX_BYTES = 512 * 1024
_REQUEST_MAX_BYTES = 5 * 1024 * 1024

_Target = tuple[str, int]
_Waiting = tuple["Outgoing", "_Publication", int]
"""A record, and whose it is at which place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A record to be published."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None = field(repr=False)
    headers: Headers = field(default_factory=list)
    timestamp_ms: int | None = None
    """None: now."""


class Publisher:
    """Publishes records as batches and waits for their acknowledgement.

    One batch is outstanding for each partition; what is published meanwhile goes with the
    next one. So many callers share a batch, none waits for a timer, and records to one
    partition are written in the order of the calls.
    """

    def __init__(self, kafka: KafkaSettings, *, client_id: str) -> None:
        self._kafka = kafka
        self._client_id = client_id
        self._timeout_s = kafka.request_timeout_s
        self._producer: AIOKafkaProducer
        self._waiting: dict[_Target, deque[_Waiting]] = defaultdict(deque)
        self._senders: dict[_Target, asyncio.Task[None]] = {}

    async def open(self) -> None:
        """Connect.

        Raises:
            PublishError: no broker answered; nothing was sent.
        """
        # Not before: one that was made and is only forgotten complains in the midst of other
        # output.
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._kafka.servers,
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=_BATCH_MAX_BYTES,
            max_request_size=_REQUEST_MAX_BYTES,
            request_timeout_ms=int(self._timeout_s * 1000),
        )
        try:
            await self._bounded(self._producer.start())
        except PublishError:
            await self._bounded(self._producer.stop())
            raise

    async def close(self) -> None:
        """Send what waits, then disconnect.

        Raises:
            PublishError: not all was acknowledged in time.
        """
        if self._senders:
            await asyncio.wait(self._senders.values(), timeout=self._timeout_s)
        await self._bounded(self._producer.stop())

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has.

        Raises:
            PublishError: the broker did not tell.
        """
        return len(await self._bounded(self._producer.partitions_for(topic)))

    async def publish(self, records: Sequence[Outgoing]) -> list[int]:
        """Publish records; return when all are acknowledged by all in-sync replicas.

        A caller that is cancelled stops waiting; its records are written all the same.

        Returns:
            The offset of each record, in the order given; -1 where the broker had the batch
            already and does not tell.

        Raises:
            PublishError: some batch was not acknowledged in time. Which records were
                written is unknown: stop, and let the successor look.
        """
        if not records:
            return []
        loop = asyncio.get_running_loop()
        publication = _Publication(loop.create_future(), len(records))
        for place, record in enumerate(records):
            target = record.topic, record.partition
            self._waiting[target].append((record, publication, place))
            if target not in self._senders:
                self._senders[target] = loop.create_task(self._send(target))
        # No deadline beside the producer's own: each batch ends within its request timeout.
        return await publication.written

    async def _send(self, target: _Target) -> None:
        """Send all that waits for one partition, a batch at a time, then end."""
        waiting = self._waiting[target]
        try:
            while waiting:
                await self._send_batch(target, waiting)
        finally:
            del self._senders[target]

    async def _send_batch(self, target: _Target, waiting: deque[_Waiting]) -> None:
        builder, taken = self._producer.create_batch(), list[_Waiting]()
        while waiting and _append(builder, waiting[0][0]):
            taken.append(waiting.popleft())
        try:
            if not taken:
                taken.append(waiting.popleft())
                raise PublishError(f"{target[0]}: a record does not fit into an empty batch")
            delivery = await self._producer.send_batch(builder, target[0], partition=target[1])
            base = (await delivery).offset
        # Whatever happens here must reach those who wait for the batch.
        except Exception as error:
            _fail(taken, PublishError(f"{target[0]}[{target[1]}]: {error!r}"))
        except BaseException:
            _fail(taken, PublishError(f"{target[0]}[{target[1]}]: the sender was cancelled"))
            raise
        else:
            for position, (_, publication, place) in enumerate(taken):
                publication.landed(place, base + position if base >= 0 else -1)

    async def _bounded(self, awaitable: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await awaitable
        except (KafkaError, TimeoutError) as error:
            raise PublishError(f"the producer got no answer: {error!r}") from error


class _Publication:
    """The records of one call, until all of them are settled."""

    __slots__ = ("_error", "_left", "_offsets", "written")

    def __init__(self, written: asyncio.Future[list[int]], count: int) -> None:
        self.written = written
        self._offsets = [-1] * count
        self._left = count
        self._error: PublishError | None = None

    def landed(self, place: int, offset: int) -> None:
        self._offsets[place] = offset
        self._settle()

    def failed(self, error: PublishError) -> None:
        self._error = self._error or error
        self._settle()

    def _settle(self) -> None:
        self._left -= 1
        # Whoever was cancelled does not wait any more.
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
