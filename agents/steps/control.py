"""Follows the control topic, whose records stop running calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from schemas.codec import decode
from schemas.dead_letter import Origin
from schemas.errors import DecodeError
from schemas.records import Control, ControlKind
from streams.errors import KafkaUnavailableError
from streams.kafka.log_reader import LogReader
from streams.kafka.patience import Patience
from streams.settings import KafkaSettings

log = structlog.get_logger()

Listener = Callable[[Control], None]


class ControlFollower:
    """Passes every control record to a listener, old records first.

    An async context manager: on entry, it has passed on every record that the topic held at that
    time. From then on it follows without a group, and resumes at its position after Kafka was
    down. A record that cannot be decoded is logged and skipped: it is a broadcast, and each of
    many workers would dead-letter it.

    Args:
        kafka: the brokers and the timeouts.
        topic: the control topic. Routers write to its first partition; all partitions are read.
        listener: called in this event loop; must not raise.
        client_id: how the connection appears in the broker's logs.
        max_bytes: size of a record.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        listener: Listener,
        *,
        client_id: str,
        max_bytes: int,
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._listener = listener
        self._client_id = client_id
        self._max_bytes = max_bytes
        self._next_offsets: dict[int, int] = {}
        self._task: asyncio.Task[None] | None = None
        self.on_failure: Callable[[BaseException], None] | None = None
        """Called if following ends by an error: from then on no cancel would be heard of."""

    async def __aenter__(self) -> ControlFollower:
        """Read the existing records, then follow.

        Raises:
            KafkaUnavailableError: the topic could not be read; no command may be run.
        """
        async with self._reader() as reader:
            await self._catch_up(reader)
        self._task = asyncio.create_task(self._follow(), name="control")
        self._task.add_done_callback(self._ended)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) and self.on_failure is not None:
            self.on_failure(error)

    async def _catch_up(self, reader: LogReader) -> None:
        places = [(self._topic, partition) for partition in await reader.partitions(self._topic)]
        bounds = {}
        for (topic, partition), (first, end) in (await reader.all_bounds(places)).items():
            start = max(first, self._next_offsets.get(partition, 0))
            self._next_offsets[partition] = start
            bounds[topic, partition] = (start, end)
        async for records in reader.read_all(bounds):
            self._give(records)

    async def _follow(self) -> None:
        patience = Patience("control")
        while True:
            try:
                async with self._reader() as reader:
                    await self._catch_up(reader)
                    patience.over()
                    async for records in reader.follow(self._topic, self._next_offsets):
                        self._give(records)
            except KafkaUnavailableError as error:
                await patience.pause(error)

    def _give(self, records: Sequence[Origin]) -> None:
        for record in records:
            self._next_offsets[record.partition] = record.offset + 1
            try:
                control = decode(record.value, Control, max_bytes=self._max_bytes)
            except DecodeError as error:
                log.warning("control_unreadable", offset=record.offset, code=error.code)
                continue
            # A kind that only a newer router knows may mean anything but "stop".
            if control.kind is not ControlKind.UNKNOWN:
                self._listener(control)

    def _reader(self) -> LogReader:
        return LogReader(self._kafka, client_id=self._client_id)
