"""Publishes creates and commands. While the broker is down, it raises within its time limit."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence

import structlog

from orchestrator.api.errors import unavailable
from schemas.records import TaskCommand, TaskCreated
from schemas.topics import Topics
from streams.envelopes import created_record, task_command_record
from streams.errors import PublishError, PublishRefusedError
from streams.kafka.partitioner import partition_of
from streams.kafka.patience import when_there
from streams.kafka.publisher import Outgoing, Publisher
from streams.settings import KafkaSettings
from streams.tracing import producer_span, trace_headers

log = structlog.get_logger()

_Target = tuple[str, int]
"""A topic and one of its partitions."""
_Sending = asyncio.Future[list[int]]

SOURCE = "/ai-orchestrator/api"
_GATHER_TURNS = 4
"""A call that gRPC has received needs about as many turns until it publishes."""


class TaskProducer:
    """A publisher that is replaced after a failure, with a time limit for each wait.

    A publish that is not acknowledged in time may still be written: callers get UNAVAILABLE, and
    may safely try again with the same idempotency key. While such a publish is open for a
    partition, further ones for that partition are refused at once, because they would wait behind
    it. Records for other partitions go on.
    """

    def __init__(self, kafka: KafkaSettings, topics: Topics, *, timeout_s: float) -> None:
        self._kafka = kafka
        self._topics = topics
        self._timeout_s = timeout_s
        self._publisher: Publisher | None = None
        self._stuck: Counter[_Target] = Counter()
        self._tasks: set[asyncio.Task[object]] = set()
        self._reopening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect; KafkaUnavailableError if no broker answers."""
        self._publisher = await self._opened()

    async def close(self) -> None:
        """Send the waiting records, then disconnect."""
        if self._reopening is not None:
            self._reopening.cancel()
        if self._publisher is not None:
            await self._publisher.close()

    async def create(self, records: Sequence[TaskCreated]) -> list[tuple[int, int]]:
        """Publish tasks; return partition and offset of each (-1: the broker returned no offset).

        Raises:
            ApiError: UNAVAILABLE; the tasks may have been created.
        """
        with producer_span(self._topics.task_created, len(records)):
            trace = trace_headers()
            positions = await self._publish(
                [
                    created_record(self._topics, self.partition(r.task_id), r, SOURCE, trace)
                    for r in records
                ]
            )
        for record, (partition, offset) in zip(records, positions, strict=True):
            log.debug("task_sent", task_id=record.task_id, partition=partition, offset=offset)
        return positions

    async def command(self, records: Sequence[TaskCommand]) -> list[tuple[int, int]]:
        """Publish commands; as :meth:`create`."""
        with producer_span(self._topics.task_commands, len(records)):
            trace = trace_headers()
            positions = await self._publish(
                [
                    task_command_record(self._topics, self.partition(r.task_id), r, SOURCE, trace)
                    for r in records
                ]
            )
        for record, (partition, offset) in zip(records, positions, strict=True):
            log.debug(
                "command_sent",
                task_id=record.task_id,
                kind=record.kind,
                partition=partition,
                offset=offset,
            )
        return positions

    def partition(self, task_id: str) -> int:
        """The partition of a task."""
        return partition_of(task_id.encode(), self._topics.settings.partitions)

    async def _publish(self, records: Sequence[Outgoing]) -> list[tuple[int, int]]:
        places: dict[_Target, list[int]] = defaultdict(list)
        for place, record in enumerate(records):
            places[record.topic, record.partition].append(place)
        publisher = self._publisher
        if publisher is None or any(self._stuck[target] for target in places):
            raise unavailable("the broker does not answer")
        # Each partition separately: a slow one shows nothing about the others.
        sending = {
            target: self._send(publisher, [records[place] for place in of_target])
            for target, of_target in places.items()
        }
        if sending:
            # Not wait_for: a caller that disconnects must not cancel a batch that others share.
            await asyncio.wait(sending.values(), timeout=self._timeout_s)
        late = [target for target, future in sending.items() if not future.done()]
        for target in late:
            self._mark_stuck(target, sending[target])
        offsets = [-1] * len(records)
        for target, future in sending.items():
            if target not in late:
                for place, offset in zip(places[target], _landed(future), strict=True):
                    offsets[place] = offset
        if late:
            raise unavailable("the broker did not acknowledge in time: it may be done all the same")
        return [(record.partition, at) for record, at in zip(records, offsets, strict=True)]

    def _send(self, publisher: Publisher, records: Sequence[Outgoing]) -> _Sending:
        sending = asyncio.ensure_future(publisher.publish(records))
        self._tasks.add(sending)

        def settled(future: _Sending) -> None:
            self._tasks.discard(future)
            if not future.cancelled() and isinstance(future.exception(), PublishError):
                self._replace(publisher)

        sending.add_done_callback(settled)
        return sending

    def _mark_stuck(self, target: _Target, sending: _Sending) -> None:
        self._stuck[target] += 1
        sending.add_done_callback(lambda _: self._stuck.subtract([target]))

    def _replace(self, failed: Publisher) -> None:
        """Replace an idempotent producer that lost a batch: its sequence numbers have a gap."""
        if self._publisher is failed:
            self._publisher = None
            self._reopening = asyncio.ensure_future(self._reopen(failed))

    async def _reopen(self, failed: Publisher) -> None:
        try:
            await failed.close()
        except PublishError as error:
            log.warning("publisher_not_closed", code=error.code)
        self._publisher = await when_there("publisher", self._opened)

    async def _opened(self) -> Publisher:
        publisher = self._new_publisher()
        await publisher.open()
        return publisher

    def _new_publisher(self) -> Publisher:
        client_id = f"{self._kafka.client_id}-api"
        return Publisher(self._kafka, client_id=client_id, gather_turns=_GATHER_TURNS)


def _landed(sending: _Sending) -> list[int]:
    """The offsets of the records sent to one partition; ApiError UNAVAILABLE if it failed."""
    try:
        return sending.result()
    except PublishRefusedError as error:
        raise unavailable(f"the broker refuses it: {error.reason}") from error
    except PublishError as error:
        raise unavailable("the broker did not acknowledge") from error
