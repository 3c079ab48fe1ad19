"""Compares the committed offsets of a group with what its topics still hold. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Place = tuple[str, int]
"""A topic and one of its partitions."""


@dataclass(frozen=True, slots=True)
class PositionGap:
    """A committed offset that its partition does not hold."""

    topic: str
    partition: int
    committed: int
    first: int
    end: int

    @property
    def missing(self) -> int:
        """How many records were removed before the group read them; 0: the topic is shorter."""
        return max(0, self.first - self.committed)


def lag_by_topic(
    committed: Mapping[Place, int], bounds: Mapping[Place, tuple[int, int]]
) -> dict[str, int]:
    """How many offsets of each topic a group has not passed yet.

    A partition without a committed offset counts from its first record.

    Args:
        committed: of the group; a partition without a committed offset is missing.
        bounds: the first offset and the end of each partition of the group's topics.
    """
    lag: dict[str, int] = {}
    for (topic, _), unread in sorted(lag_by_place(committed, bounds).items()):
        lag[topic] = lag.get(topic, 0) + unread
    return lag


def lag_by_place(
    committed: Mapping[Place, int], bounds: Mapping[Place, tuple[int, int]]
) -> dict[Place, int]:
    """As :func:`lag_by_topic`, for each partition."""
    return {
        place: max(0, end - max(first, committed.get(place, first)))
        for place, (first, end) in bounds.items()
    }


def gaps(
    committed: Mapping[Place, int], bounds: Mapping[Place, tuple[int, int]]
) -> list[PositionGap]:
    """The committed offsets before the first record, or beyond the end, of their partitions.

    Args:
        committed: of the group; a partition without a committed offset is missing.
        bounds: the first offset and the end of each assigned partition.
    """
    return [
        PositionGap(*place, committed[place], first, end)
        for place, (first, end) in sorted(bounds.items())
        if place in committed and not first <= committed[place] <= end
    ]
