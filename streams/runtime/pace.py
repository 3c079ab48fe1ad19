"""Reduces the slots of a process that cannot keep up, by the delay of its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LATE_S = 0.25
"""An event loop whose timers are later than this cannot keep up."""

_LOOK_S = 0.25
"""Seconds between two looks at the event loop."""

_RECOVERY_LOOKS = 8
"""Looks from one slot back to all slots, while the event loop is on time."""


class Pace:
    """How many slots may be used now. Pure.

    The rule: a look that finds the event loop more than ``LATE_S`` late halves the slots, to
    no less than one; a look that finds it less than half as late gives an eighth of them back.

    Args:
        slots: the maximum.
    """

    def __init__(self, slots: int) -> None:
        self._most = slots
        self.slots = slots
        """Slots that may be used now, at least 1."""
        self.delay_s = 0.0
        """How late the event loop was at the last look."""

    def observe(self, delay_s: float) -> None:
        """Take how late a timer was."""
        self.delay_s = max(0.0, delay_s)
        if delay_s > LATE_S:
            self.slots = max(1, self.slots // 2)
        elif delay_s <= LATE_S / 2:
            given_back = max(1, self._most // _RECOVERY_LOOKS)
            self.slots = min(self._most, self.slots + given_back)


class LoopWatch:
    """Looks at the event loop for a :class:`Pace`, until it is stopped.

    Args:
        pace: gets the delay of each look.
        looked: called after each look.
    """

    def __init__(self, pace: Pace, looked: Callable[[], None]) -> None:
        self._pace = pace
        self._looked = looked
        self._next: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look, in the running event loop. Idempotent."""
        if self._next is None:
            self._plan(asyncio.get_running_loop())

    def stop(self) -> None:
        """Look no more. Idempotent."""
        if self._next is not None:
            self._next.cancel()

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        self._next = loop.call_later(_LOOK_S, self._look, loop, loop.time() + _LOOK_S)

    def _look(self, loop: asyncio.AbstractEventLoop, due_s: float) -> None:
        self._plan(loop)
        self._pace.observe(loop.time() - due_s)
        self._looked()
