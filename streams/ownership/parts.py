"""The parts that all owners of a process share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from schemas.records import Millis
from schemas.topics import Topics
from streams.ownership.settings import RouterSettings
from tasks.decision import Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerParts:
    """The topics, rules and settings of the system, and the sources of time and randomness."""

    topics: Topics
    rules: Rules
    settings: RouterSettings
    clock: Callable[[], Millis]
    jitter: Callable[[], float]
    """Draws from ``[0, 1)``."""
