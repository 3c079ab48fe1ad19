"""Finds out whether a killed replay had sent its last records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from schemas.headers import header_text
from schemas.records import DeadLetterItem
from streams.kafka.log_reader import LogReader
from tasks.letters.ledger import LetterState, Target


async def settle(
    reader: LogReader, doubts: Mapping[str, LetterState]
) -> tuple[list[DeadLetterItem], list[DeadLetterItem]]:
    """Look for the records of replays that noted an intent and no outcome.

    Each intent names the partition and its end before the record was sent. A record that was sent
    lies after that end, and carries the ids of its letter and of its replay.

    Args:
        reader: open.
        doubts: states with an intent, by letter id.

    Returns:
        The letters whose record was sent, with its position, and the letters without one.
    """
    by_place: dict[tuple[str, int], list[tuple[str, LetterState, Target]]] = defaultdict(list)
    lost: list[DeadLetterItem] = []
    for letter_id, state in doubts.items():
        if state.intended is None:
            continue
        if state.intended.offset < 0:  # rows, not a record: writing them again is harmless
            lost.append(DeadLetterItem(letter_id=letter_id))
        else:
            place = (state.intended.topic, state.intended.partition)
            by_place[place].append((letter_id, state, state.intended))
    sent: list[DeadLetterItem] = []
    for (topic, partition), waiting in by_place.items():
        start = min(intended.offset for _, _, intended in waiting)
        found = await _marks(reader, topic, partition, start)
        for letter_id, state, _ in waiting:
            mark = found.get((letter_id, state.replay_id or ""))
            if mark is None:
                lost.append(DeadLetterItem(letter_id=letter_id))
            else:
                offset, count = mark
                sent.append(
                    DeadLetterItem(
                        letter_id=letter_id,
                        count=count,
                        topic=topic,
                        partition=partition,
                        offset=offset,
                    )
                )
    return sent, lost


async def _marks(
    reader: LogReader, topic: str, partition: int, start: int
) -> dict[tuple[str, str], tuple[int, int]]:
    """Letter and replay id to the offset and count of each replayed record from ``start`` on."""
    first, end = await reader.bounds(topic, partition)
    found: dict[tuple[str, str], tuple[int, int]] = {}
    async for records in reader.read(topic, partition, max(first, start), end):
        for record in records:
            letter_id = header_text(record.headers, "__dlq.replay.of")
            replay_id = header_text(record.headers, "__dlq.replay.id")
            count = header_text(record.headers, "__dlq.replay.count")
            if letter_id and replay_id and count and count.isascii() and count.isdigit():
                found.setdefault((letter_id, replay_id), (record.offset, int(count)))
    return found
