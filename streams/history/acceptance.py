"""Which events of a partition count: one rule for every reader. Pure.

Each owner of a partition announces itself by a marker, ``ownership_taken``, with the next
epoch and an id of its own. Every reader ignores what a former owner writes after that marker,
so a process that was paused for too long cannot change a task's history.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

from schemas.records import EventKind, TaskEvent

OWNER_WINDOW = 500
"""Records that a reader examines to find the owner of a log whose markers it has not read."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """Who owns a partition at some offset of its log."""

    epoch: int
    owner: str


def accept(current: Ownership | None, event: TaskEvent) -> Ownership | None:
    """Apply the rule to the next event of a partition.

    Args:
        current: the ownership that holds before this event; None for a reader that has not
            seen a marker yet.
        event: the event at the next offset.

    Returns:
        The ownership that holds after the event if it is accepted; None if it is ignored.
        A reader that has not seen a marker accepts the first one, whatever its epoch.
    """
    claimed = Ownership(event.owner_epoch, event.owner)
    if event.kind is EventKind.OWNERSHIP_TAKEN:
        expected = current is None or claimed.epoch == current.epoch + 1
        return claimed if expected else None
    return claimed if claimed == current else None


def prevailing_owner(events: Iterable[TaskEvent]) -> Ownership | None:
    """The ownership with the highest epoch among some events.

    Epochs only increase, so an event with a lower one was written by a former owner. Two routers
    may have announced the same epoch; only the first of them writes events under it.
    """
    best: Ownership | None = None
    wrote = False
    for event in events:
        event_like = event.kind is not EventKind.OWNERSHIP_TAKEN
        higher = best is None or event.owner_epoch > best.epoch
        settles = best is not None and event.owner_epoch == best.epoch and event_like and not wrote
        if higher or settles:
            best, wrote = Ownership(event.owner_epoch, event.owner), event_like
    return best


def owner_before_first_marker(events: Iterable[TaskEvent]) -> Ownership | None:
    """The ownership at the start of a log whose first markers are gone.

    Args:
        events: the first ones that are left. Only those before a marker count, because a marker
            begins another ownership.
    """
    return prevailing_owner(takewhile(lambda e: e.kind is not EventKind.OWNERSHIP_TAKEN, events))
