"""Compares the positions of the rows with the logs: what is not written yet, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas.topics import Topics, dlq
from sinks.errors import SinkPositionError
from sinks.reads.positions import StoredPositions
from sinks.writer import Position
from streams.history.accepted import is_of_owner
from streams.kafka.log_reader import LogReader
from streams.kafka.positions import Place, lag_by_place


@dataclass(frozen=True, slots=True)
class Standing:
    """How the rows stand to the logs of one system."""

    unwritten: int
    """Records of the log, and dead letters, that come after the positions."""
    wrong: tuple[str, ...]
    """Why the sink would stop, for each partition in which it would."""
    foreign: tuple[str, ...]
    """Topics of other systems whose dead letters the index holds, in order."""


async def check_position(
    reader: LogReader, place: Place, stored: Position, bounds: tuple[int, int]
) -> None:
    """Check that a log holds what follows a position of the sink.

    Args:
        reader: open; of uncommitted records.
        place: the log and the partition.
        stored: the position.
        bounds: the first offset of the partition, and its end.

    Raises:
        SinkPositionError: the log was cut, or made again, or is another system's.
        KafkaUnavailableError: the log could not be read.
    """
    (topic, partition), (first, end) = place, bounds
    offset, owner = stored.next_offset, stored.owner
    if not first <= offset <= end:
        raise SinkPositionError(
            f"the sink stands at offset {offset} of {topic}[{partition}], "
            f"whose log goes from {first} to {end}"
        )
    # A log of the same name may have been made again, and be as long as the former one.
    if owner and not await is_of_owner(reader, topic, partition, offset, owner):
        raise SinkPositionError(
            f"the sink stands at offset {offset} of {topic}[{partition}], which others wrote: "
            "the topic was made again; restore it, or rebuild the projection"
        )


async def standing(
    reader: LogReader, topics: Topics, indexed: Sequence[str], stored: StoredPositions
) -> Standing:
    """Compare all positions with the logs as they are now.

    Args:
        reader: open; of uncommitted records.
        topics: of the system.
        indexed: the topics of the dead-letter index.
        stored: what the database holds.

    Raises:
        KafkaUnavailableError: a log could not be read.
    """
    log = topics.task_events
    bounds = await reader.all_bounds(await reader.all_partitions([log, *indexed]))
    wrong = []
    at: dict[Place, int] = dict(stored.index)
    for partition, position in sorted(stored.sink.items()):
        place = (log, partition)
        at[place] = position.next_offset
        try:
            # A partition that the log does not have is an empty one.
            await check_position(reader, place, position, bounds.get(place, (0, 0)))
        except SinkPositionError as error:
            wrong.append(str(error))
    return Standing(
        unwritten=sum(lag_by_place(at, bounds).values()),
        wrong=tuple(wrong),
        foreign=tuple(of_others({name for name, _ in stored.index}, topics)),
    )


def of_others(indexed: Iterable[str], topics: Topics) -> list[str]:
    """The topics in an index that are not of a system, in order.

    By its prefix: a topic of ours may be that of a step that no pipeline has any more.
    """
    prefix = topics.settings.prefix
    return sorted(name for name in indexed if not name.startswith((prefix, dlq(prefix))))
