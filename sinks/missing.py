"""What a projection lacks and no log can give back any more. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from sinks.writer import Position

NAMED_MAX = 10
"""Tasks that are named; all are counted."""


@dataclass(frozen=True, slots=True)
class TrimmedRange:
    """Records that left the log before the sink wrote them."""

    partition: int
    """Of ``task-events``."""
    first_offset: int
    """The first one that was not written."""
    end_offset: int
    """Where the log begins now."""

    @property
    def offsets(self) -> int:
        """How many offsets that are."""
        return self.end_offset - self.first_offset


@dataclass(frozen=True, slots=True)
class Missing:
    """What is missing; false if nothing is."""

    gaps: tuple[TrimmedRange, ...] = ()
    tasks: int = 0
    """Tasks without a row that routers still know, or of which the log holds a later event."""
    named: tuple[str, ...] = ()
    """The ids of some of them."""

    def __bool__(self) -> bool:
        """Whether anything is missing."""
        return bool(self.gaps or self.tasks)


def gaps(sink: Mapping[int, Position], starts: Mapping[int, Position]) -> tuple[TrimmedRange, ...]:
    """Where the log begins above the sink's position.

    Args:
        sink: how far each partition was written. One that never was has no gap: its projection
            is new, and begins where the log does.
        starts: where each partition's log begins.
    """
    return tuple(
        TrimmedRange(partition, position.next_offset, starts[partition].next_offset)
        for partition, position in sorted(sink.items())
        if partition in starts and position.next_offset < starts[partition].next_offset
    )
