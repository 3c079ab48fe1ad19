"""What the rules of a service say about its commands. Pure."""

from __future__ import annotations

from enum import StrEnum


class Admission(StrEnum):
    """What may be done with the next command."""

    GO = "go"
    PROBE = "probe"
    """Run it to find out whether the service is back."""
    WAIT = "wait"
    """Leave it in its topic; nothing is lost, its offset is not committed."""


class Change(StrEnum):
    """A change that is to be logged."""

    PAUSED = "paused"
    RESUMED = "resumed"


class Hold(StrEnum):
    """Why commands wait. The words are written beside the offsets of the group, for readers of
    other processes and releases: a reader must expect new ones."""

    FLOOD_GUARD = "FLOOD_GUARD"
    """Most commands of the service ended as dead letters."""
    BREAKER_OPEN = "BREAKER_OPEN"
    """Most calls of the service failed."""
    THROTTLED = "THROTTLED"
    """The service said that it is called too often."""
    RETRIES = "RETRIES"
    """Too many of its calls were retries."""
