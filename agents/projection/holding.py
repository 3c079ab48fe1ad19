"""Which deliveries of the log wait for later ones, so that rows are written less often. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from schemas.headers import header_text
from schemas.records import EventKind, TaskEvent
from streams.envelopes import type_name

HELD_MAX = 500
"""Deliveries that wait, at most: a busy partition has nothing to wait for."""

_GOING_ON = frozenset(
    type_name(TaskEvent, kind)
    for kind in (
        EventKind.CREATED,
        EventKind.EXECUTE_REQUESTED,
        EventKind.COMMAND_REFUSED,
        EventKind.STARTED,
        EventKind.STEP_SUCCEEDED,
        EventKind.STEP_RETRY_SCHEDULED,
        EventKind.PRIORITY_CHANGED,
        EventKind.RETRIED,
    )
)
"""The types of events after which their task goes on."""


class Holdable(Protocol):
    """The part of a delivery that the rule needs."""

    @property
    def headers(self) -> tuple[tuple[str, bytes | None], ...]:
        """Name and value, in order."""


T = TypeVar("T", bound=Holdable)


class Holding(Generic[T]):
    """The deliveries of one partition that are not written yet, in their order.

    The rule: deliveries wait for ``hold_s`` at most, while each of them is an event after which
    its task goes on. One that ends a task, or does not say what it is, is written at once with all
    before it. So a short task becomes one transaction, and not one for each of its events.
    """

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._held: list[T] = []
        self._due_s: float | None = None

    @property
    def held(self) -> Sequence[T]:
        """What waits."""
        return self._held

    def wakeup_s(self, now_s: float) -> float | None:
        """Seconds until what waits is due; None: nothing waits."""
        return None if self._due_s is None else max(0.0, self._due_s - now_s)

    def add(self, deliveries: Sequence[T], now_s: float) -> bool:
        """Take the next deliveries; True if everything that is held is to be written now."""
        self._held += deliveries
        if self._held and self._due_s is None:
            self._due_s = now_s + self._hold_s
        return self._due_s is not None and (
            now_s >= self._due_s
            or len(self._held) >= HELD_MAX
            or not all(_goes_on(delivery) for delivery in deliveries)
        )

    def clear(self) -> None:
        """Forget everything: it is written."""
        self._held.clear()
        self._due_s = None


def _goes_on(delivery: Holdable) -> bool:
    return header_text(delivery.headers, "ce_type") in _GOING_ON
