"""Isolates a row that Postgres refuses: halves its batch until the row stands alone."""

from collections.abc import Awaitable, Callable, Sequence

from sinks.errors import SinkRowError
from sinks.rows import LogEvent
from sinks.writer import Position

Write = Callable[[Sequence[LogEvent], Position], Awaitable[None]]
"""Writes events and the position after them, all or nothing."""

Refused = Callable[[LogEvent, SinkRowError], Awaitable[None]]
"""Is called with an event whose row is refused, before the position passes it."""


async def write_isolating(
    write: Write, refused: Refused, events: Sequence[LogEvent], after: Position
) -> None:
    """Write a batch; leave out the events whose rows are refused.

    The position moves with each part that is written, so that a failure in between leaves a
    prefix of the batch. Any other error of ``write`` or ``refused`` is passed on.
    """
    try:
        await write(events, after)
    except SinkRowError as error:
        if len(events) <= 1:
            for event in events:
                await refused(event, error)
            await write([], after)
            return
        middle = len(events) // 2
        first = events[middle]
        between = Position(first.offset, first.event.owner_epoch, first.event.owner)
        await write_isolating(write, refused, events[:middle], between)
        await write_isolating(write, refused, events[middle:], after)
