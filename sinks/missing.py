"""What a projection lacks and the log can no longer provide. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from sinks.writer import Position

NAMED_MAX = 10
"""Tasks that are listed by name; all are counted."""


@dataclass(frozen=True, slots=True)
class TrimmedRange:
    """Records that left the log before the sink wrote them."""

    partition: int
    """A partition of ``task-events``."""
    first_offset: int
    """The first offset that was not written."""
    end_offset: int
    """The first offset of the log now."""

    @property
    def offsets(self) -> int:
        """The number of offsets."""
        return self.end_offset - self.first_offset


@dataclass(frozen=True, slots=True)
class Missing:
    """The missing records and tasks; false if the projection is complete."""

    gaps: tuple[TrimmedRange, ...] = ()
    tasks: int = 0
    """Tasks without a row that routers still know, or that have a later event in the log."""
    named: tuple[str, ...] = ()
    """The ids of some of them."""

    def __bool__(self) -> bool:
        """Whether anything is missing."""
        return bool(self.gaps or self.tasks)


def gaps(sink: Mapping[int, Position], starts: Mapping[int, Position]) -> tuple[TrimmedRange, ...]:
    """The ranges between the sink's positions and later beginnings of the log.

    Args:
        sink: how far each partition was written. A partition that was never written has no gap:
            its projection is new, and begins where the log does.
        starts: where each partition's log begins.
    """
    return tuple(
        TrimmedRange(partition, position.next_offset, starts[partition].next_offset)
        for partition, position in sorted(sink.items())
        if partition in starts and position.next_offset < starts[partition].next_offset
    )
