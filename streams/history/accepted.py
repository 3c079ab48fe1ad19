"""From the records of ``task-events`` to the accepted events, for every reader."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from schemas.codec import decode
from schemas.dead_letter import Origin
from schemas.errors import DecodeError
from schemas.limits import EVENT_MAX_BYTES
from schemas.records import EventKind, TaskEvent
from streams.history.acceptance import (
    OWNER_WINDOW,
    Ownership,
    accept,
    owner_before_first_marker,
    prevailing_owner,
)
from streams.kafka.log_reader import LogReader


@dataclass(frozen=True, slots=True)
class AcceptedEvents:
    """The accepted events in some records of one partition."""

    events: list[tuple[Origin, TaskEvent]]
    """The accepted events in order, without the markers."""
    undecodable: list[tuple[Origin, DecodeError]]
    ignored: int
    """Events and markers of former owners."""
    ownership: Ownership | None
    """The ownership that holds after the records."""


def read_accepted(
    records: Iterable[Origin],
    ownership: Ownership | None,
    *,
    max_bytes: int = EVENT_MAX_BYTES,
) -> AcceptedEvents:
    """Decode the next records of a partition, and apply the acceptance rule. Pure.

    Args:
        records: in the order of their offsets.
        ownership: the ownership before the records; for None see
            :func:`~streams.history.acceptance.accept`.
        max_bytes: a value of more bytes is undecodable.
    """
    events: list[tuple[Origin, TaskEvent]] = []
    undecodable: list[tuple[Origin, DecodeError]] = []
    ignored = 0
    for record in records:
        try:
            event = decode(record.value, TaskEvent, max_bytes=max_bytes)
        except DecodeError as error:
            undecodable.append((record, error))
            continue
        accepted = accept(ownership, event)
        if accepted is None:
            ignored += 1
            continue
        ownership = accepted
        if event.kind is not EventKind.OWNERSHIP_TAKEN:
            events.append((record, event))
    return AcceptedEvents(events, undecodable, ignored, ownership)


def prevailing(records: Iterable[Origin]) -> Ownership | None:
    """The ownership that prevails among some records: see ``prevailing_owner``. Pure."""
    return prevailing_owner(_decoded(records))


async def ownership_at_start(
    reader: LogReader, topic: str, partition: int, first: int, end: int
) -> Ownership | None:
    """The ownership at the first offset that a log still has; None: its first marker names it.

    Retention removes markers. The owner is then known by the events that it wrote next.

    Raises:
        KafkaUnavailableError: the log could not be read.
    """
    if first == 0:
        return None
    return owner_before_first_marker(_decoded(await _read(reader, topic, partition, first, end)))


async def ownership_before(
    reader: LogReader, topic: str, partition: int, offset: int
) -> Ownership | None:
    """The ownership at an offset in the middle of a log, from the last records before it.

    Raises:
        KafkaUnavailableError: the log could not be read.
    """
    first, _ = await reader.bounds(topic, partition)
    best: Ownership | None = None
    upper = offset
    while best is None and upper > first:
        lower = max(first, upper - OWNER_WINDOW)
        best = prevailing(await _read(reader, topic, partition, lower, upper))
        upper = lower
    return best


async def is_of_owner(
    reader: LogReader, topic: str, partition: int, offset: int, owner: str
) -> bool:
    """Whether a log is the one in which an owner wrote before an offset.

    Args:
        reader: open.
        topic: the log.
        partition: of the log.
        offset: the offset at which the owner held the partition.
        owner: its id.

    Returns:
        False if the last events before the offset are all by other owners. True also if no event
        can be read there any more, because then nothing contradicts the owner.

    Raises:
        KafkaUnavailableError: the log could not be read.
    """
    first, end = await reader.bounds(topic, partition)
    start = max(first, offset - OWNER_WINDOW)
    records = await _read(reader, topic, partition, start, min(offset, end))
    owners = {event.owner for event in _decoded(records)}
    return not owners or owner in owners


async def _read(
    reader: LogReader, topic: str, partition: int, start: int, end: int
) -> list[Origin]:
    bound = min(end, start + OWNER_WINDOW)
    return [r async for batch in reader.read(topic, partition, start, bound) for r in batch]


def _decoded(records: Iterable[Origin]) -> Iterator[TaskEvent]:
    for record in records:
        with suppress(DecodeError):
            yield decode(record.value, TaskEvent)
