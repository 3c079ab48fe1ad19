"""Closes dead letters that need no operator: their task went on, or their replay is over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from agents.letters.parts import IndexerParts
from schemas.records import DeadLetterAction, DeadLetterActionKind, DeadLetterItem
from schemas.topics import dlq
from sinks.letters.writer import SentRecord
from streams.clock import now_ms
from streams.kafka.admin import Admin
from streams.kafka.log_reader import LogReader
from streams.letters.action_log import action_record, new_id

log = structlog.get_logger()

ACTOR = "dlq-index"
"""The actor of automatic closing, in ``dlq-actions``."""
_EVERY_S = 1.0
_AT_MOST = 500


class Closing:
    """Looks from time to time, and appends ``resolved`` actions, which close the letters.

    A letter is closed when

    - its task is in a later run than the one in which its step failed;
    - its record was refused by admission, and its task was created since;
    - its replayed record was acknowledged by its group. If that record failed again, the
      reason names the letter that it became.

    The sink writes the rows of tasks; if the sink is behind, a letter is closed later.
    """

    def __init__(self, parts: IndexerParts) -> None:
        self._parts = parts
        self._next_at = 0.0
        self._closed: dict[str, int] = {}
        """Letters that we closed, with the offset of the action."""

    def due(self) -> bool:
        """True if the next look is due."""
        return self.wait_s() <= 0

    def wait_s(self) -> float:
        """Seconds until the next look."""
        return max(0.0, self._next_at - asyncio.get_running_loop().time())

    async def close(self, indexed_to: int) -> None:
        """Look for letters to close, and append the actions.

        Args:
            indexed_to: how far the index has read the ledger. The index does not know yet of
                letters that we closed after that. Closing them again would close a letter that
                an operator has reopened meanwhile.

        Raises:
            SinkUnavailableError: look again later.
            PublishError: it is unknown whether the actions were written; they may be written again.
        """
        now = asyncio.get_running_loop().time()
        self._closed = {k: offset for k, offset in self._closed.items() if offset >= indexed_to}
        items = await self._gone_on() + await self._processed()
        items = [item for item in items if item.letter_id not in self._closed]
        if items:
            offset = await self._append(items)
            self._closed.update((item.letter_id, offset) for item in items)
        full = len(items) >= _AT_MOST
        self._next_at = now + (0.0 if full else _EVERY_S)

    async def _gone_on(self) -> list[DeadLetterItem]:
        found = await self._parts.writer.gone_on(self._parts.topics.task_created, _AT_MOST)
        return [
            DeadLetterItem(
                letter_id=gone.letter_id,
                reason=f"task_went_on: run {gone.run}, {gone.status}",
            )
            for gone in found
        ]

    async def _processed(self) -> list[DeadLetterItem]:
        waiting = await self._parts.writer.sent(_AT_MOST)
        if not waiting:
            return []
        passed = await self._acknowledged(waiting)
        # The order matters: a dead letter is written before its record is acknowledged, so a letter
        # that is missing from an index that stands at this end does not exist.
        passed = await self._indexed(passed)
        successors = await self._parts.writer.successors([sent.letter_id for sent in passed])
        return [
            DeadLetterItem(
                letter_id=sent.letter_id,
                reason=f"failed_again: {successors[sent.letter_id]}"
                if sent.letter_id in successors
                else "processed",
            )
            for sent in passed
        ]

    async def _acknowledged(self, waiting: Sequence[SentRecord]) -> list[SentRecord]:
        passed = []
        async with Admin(self._parts.kafka) as admin:
            for group in sorted({sent.group for sent in waiting if sent.group}):
                ours = [sent for sent in waiting if sent.group == group]
                places = sorted({(sent.topic, sent.partition) for sent in ours})
                committed = await admin.committed(group, places)
                passed += [
                    sent
                    for sent in ours
                    if committed.get((sent.topic, sent.partition), 0) > sent.offset
                ]
        return passed

    async def _indexed(self, passed: Sequence[SentRecord]) -> list[SentRecord]:
        places = sorted({(dlq(sent.topic), sent.partition) for sent in passed})
        places = [place for place in places if place[0] in self._parts.dlq_topics]
        if not places:
            return []
        kafka = self._parts.kafka
        async with LogReader(kafka, client_id=f"{kafka.client_id}-dlq-closing") as reader:
            bounds = await reader.all_bounds(places)
        behind = set()
        for partition in {partition for _, partition in places}:
            topics = [topic for topic, p in places if p == partition]
            stored = await self._parts.writer.positions(topics, partition)
            for topic in topics:
                first, end = bounds[topic, partition]
                if first < end and stored.get(topic, 0) < end:
                    behind.add((topic, partition))
        return [sent for sent in passed if (dlq(sent.topic), sent.partition) not in behind]

    async def _append(self, items: Sequence[DeadLetterItem]) -> int:
        action = DeadLetterAction(
            action_id=new_id(),
            kind=DeadLetterActionKind.RESOLVED,
            actor=ACTOR,
            reason="closed",
            items=list(items),
            at=now_ms(),
        )
        record = action_record(self._parts.topics.dlq_actions, action)
        [offset] = await self._parts.publisher.publish([record])
        log.info("letters_closed", count=len(items))
        return offset
