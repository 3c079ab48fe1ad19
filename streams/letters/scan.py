"""Reads every dead letter from the topics alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from schemas.dead_letter import Origin
from schemas.dead_letter_record import DeadLetter, read_dead_letter
from schemas.topics import Topics
from streams.kafka.log_reader import LogReader


async def scan(
    reader: LogReader, dlq_topics: Sequence[str], topics: Topics, *, values: bool = True
) -> list[DeadLetter]:
    """Read the dead-letter topics up to their current ends.

    Args:
        reader: open.
        dlq_topics: the dead-letter topics that exist.
        topics: the names of this system.
        values: False leaves out keys, values, headers and stack traces; a list does not need
            them, and takes a tenth of the memory without them.
    """
    letters: list[DeadLetter] = []
    async for records in _all(reader, dlq_topics):
        found = [read_dead_letter(record, topics) for record in records]
        letters += found if values else map(_without_values, found)
    return letters


async def scan_records(reader: LogReader, dlq_topics: Sequence[str]) -> list[Origin]:
    """The records of the dead-letter topics, not decoded."""
    return [record async for records in _all(reader, dlq_topics) for record in records]


async def read_letter(
    reader: LogReader, dlq_topic: str, partition: int, offset: int, topics: Topics
) -> DeadLetter | None:
    """The dead letter at a position; None if it no longer exists."""
    first, end = await reader.bounds(dlq_topic, partition)
    if not first <= offset < end:
        return None
    async for records in reader.read(dlq_topic, partition, offset, offset + 1):
        for record in records:
            return read_dead_letter(record, topics)
    return None


async def with_values(
    reader: LogReader, letters: Sequence[DeadLetter], topics: Topics
) -> list[DeadLetter]:
    """Add the values, read from the topics, to letters that were found without them.

    Reads each partition once, from the first wanted letter to the last. Letters that expired,
    or whose position holds another letter now, are left out.
    """
    wanted = {(x.dlq_topic, x.dlq_partition, x.dlq_offset): x.id for x in letters}
    offsets: dict[tuple[str, int], list[int]] = defaultdict(list)
    for topic, partition, offset in wanted:
        offsets[topic, partition].append(offset)
    found: list[DeadLetter] = []
    bounds = await reader.all_bounds(list(offsets))
    spans = {
        place: (max(first, min(offsets[place])), min(end, max(offsets[place]) + 1))
        for place, (first, end) in bounds.items()
    }
    async for records in reader.read_all(spans):
        for record in records:
            letter_id = wanted.get((record.topic, record.partition, record.offset))
            if letter_id is not None:
                letter = read_dead_letter(record, topics)
                found += [letter] if letter.id == letter_id else []
    return found


async def _all(reader: LogReader, dlq_topics: Sequence[str]) -> AsyncIterator[Sequence[Origin]]:
    bounds = await reader.all_bounds(await reader.all_partitions(dlq_topics))
    async for records in reader.read_all(bounds):
        yield records


def _without_values(letter: DeadLetter) -> DeadLetter:
    return replace(letter, key=None, value=None, headers=(), stacktrace="")
