"""The ledger topic ``dlq-actions``: reads it to its end, and appends to it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence

import msgspec
import structlog

from schemas.codec import decode, encode
from schemas.dead_letter import Origin
from schemas.errors import DecodeError
from schemas.headers import cloudevent_headers
from schemas.records import DeadLetterAction
from schemas.topics import Topics
from streams.clock import now_ms
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Outgoing, Publisher
from tasks.letters.author import Author
from tasks.letters.ledger import Ledger

log = structlog.get_logger()

PARTITION = 0
"""The only partition of the topic, so that all readers see one order."""

_CLOCKS_MS = 3_600_000


class ActionLog:
    """Folds the topic into a :class:`Ledger`, and appends actions to it."""

    def __init__(
        self, reader: LogReader, topics: Topics, publisher: Publisher | None = None
    ) -> None:
        self.ledger = Ledger()
        self._reader = reader
        self._topic = topics.dlq_actions
        self._publisher = publisher
        self._next_offset: int | None = None
        self._folding = asyncio.Lock()

    async def catch_up(self) -> None:
        """Read to the current end of the topic.

        Raises:
            KafkaUnavailableError: ask again later.
        """
        async with self._folding:
            if self._next_offset is None:
                self._next_offset, end = await self._reader.bounds(self._topic, PARTITION)
            else:
                end = (await self._reader.ends([(self._topic, PARTITION)]))[self._topic, PARTITION]
            async for records in self._reader.read(self._topic, PARTITION, self._next_offset, end):
                for record in records:
                    self._fold(record)
            self._next_offset = end

    async def history(
        self, letter_id: str, *, since_ms: int | None = None
    ) -> list[DeadLetterAction]:
        """All actions about one letter, oldest first, each reduced to this letter.

        Args:
            letter_id: the whole id.
            since_ms: when it was dead-lettered, Unix milliseconds; the topic is read from an
                hour before, since clocks differ. None: the whole topic.
        """
        start, end = await self._reader.bounds(self._topic, PARTITION)
        if since_ms is not None:
            start = await self._reader.offset_at(self._topic, PARTITION, since_ms - _CLOCKS_MS)
        found = []
        async for records in self._reader.read(self._topic, PARTITION, start, end):
            for record in records:
                try:
                    action = decode(record.value, DeadLetterAction)
                except DecodeError:
                    continue
                items = [item for item in action.items if item.letter_id == letter_id]
                if items:
                    found.append(msgspec.structs.replace(action, items=items))
        return found

    def write_with(self, publisher: Publisher) -> None:
        """Allow :meth:`append`."""
        self._publisher = publisher

    async def append(self, actions: Sequence[DeadLetterAction]) -> None:
        """Append actions; they are in the ledger after the next :meth:`catch_up`.

        Raises:
            PublishError: it is unknown whether they were written.
        """
        if self._publisher is None:
            raise RuntimeError("this action log is read only")
        records = [action_record(self._topic, action) for action in actions]
        offsets = await self._publisher.publish(records)
        async with self._folding:
            # Actions that landed directly after the last one read need not be read.
            for offset, action in zip(offsets, actions, strict=True):
                if offset == self._next_offset:
                    self.ledger.add(offset, action)
                    self._next_offset = offset + 1

    def _fold(self, record: Origin) -> None:
        try:
            action = decode(record.value, DeadLetterAction)
        except DecodeError as error:
            log.warning("action_unreadable", offset=record.offset, code=error.code)
        else:
            self.ledger.add(record.offset, action)


def action_record(topic: str, action: DeadLetterAction) -> Outgoing:
    """An action, for the ledger topic."""
    return Outgoing(
        topic=topic,
        partition=PARTITION,
        key=(action.replay_id or action.action_id).encode(),
        value=encode(action),
        headers=cloudevent_headers(
            event_id=action.action_id,
            event_type=f"orchestrator.v1.DeadLetterAction.{action.kind}",
            time_ms=action.at,
            task_id=action.replay_id or action.action_id,
        ),
    )


def new_id() -> str:
    """An id for an action or a run of the replay tool."""
    return str(uuid.uuid4())


def author(*, actor: str, reason: str) -> Author:
    """Who acts, with ids that are random and times of this machine."""
    return Author(actor=actor, reason=reason, new_id=new_id, clock=now_ms)
