"""Lanes: the priority classes of a step's topics."""

from schemas.records import Lane

HIGH_FROM = 8
LOW_UP_TO = 2


def lane_of(priority: int) -> Lane:
    """The lane of a priority 0..10: high from 8, low up to 2, normal between."""
    if priority >= HIGH_FROM:
        return Lane.HIGH
    if priority <= LOW_UP_TO:
        return Lane.LOW
    return Lane.NORMAL
