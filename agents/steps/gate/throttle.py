"""Fewer calls at once for a service that says that it is called too often. Pure.

A service answers 429 or RESOURCE_EXHAUSTED when its limit is reached, not when it fails: the same
call succeeds later. So a throttled call costs no attempt. The calls at once follow the rule of
TCP's congestion avoidance (RFC 5681): one more for each round of successes, half as many after a
refusal.
"""

from __future__ import annotations

_PAUSE_S = 0.2
RETRY_AFTER_MAX_S = 60.0
"""A service that asks for more time is called once a minute all the same: one wrong answer, or one
of an instance, must not stop it for a day."""

_PAUSE_MAX_S = 30.0


class Throttle:
    """The calls at once of one service in one process. Times are seconds of one monotonic clock.

    Args:
        slots: the most calls at once; the least is 1.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._limit = float(slots)
        self._running = 0
        self._not_before = 0.0
        self._lowered_at = float("-inf")
        self._refusals = 0
        """Times that the limit was lowered since the last success."""

    @property
    def limit(self) -> int:
        """Calls that may run at once now."""
        return int(self._limit)

    @property
    def active(self) -> bool:
        """Whether the service has fewer calls at once than it could have."""
        return self.limit < self._slots

    def admits(self, now_s: float) -> bool:
        """Whether a call may begin."""
        return now_s >= self._not_before and self._running < self.limit

    def begin(self) -> None:
        """A call begins."""
        self._running += 1

    def ended(self) -> None:
        """A call that says nothing about the limit has ended: a failure, or a cancel."""
        self._running -= 1

    def succeeded(self) -> None:
        """A call was answered."""
        self._running -= 1
        self._refusals = 0
        self._limit = min(float(self._slots), self._limit + 1 / self._limit)

    def refused(
        self, began_s: float, retry_after_s: float | None, *, now_s: float, chance: float
    ) -> None:
        """A call was refused because there are too many.

        Args:
            began_s: when the call began: calls that were refused together lower the limit once.
            retry_after_s: the service's own time, taken up to ``RETRY_AFTER_MAX_S``; without it,
                the pause grows from a fifth of a second.
            now_s: the time.
            chance: a random number from 0 to 1.
        """
        self._running -= 1
        if began_s > self._lowered_at:
            self._lowered_at = now_s
            self._limit = max(1.0, self._limit / 2)
            self._refusals += 1
        pause_s = min(_PAUSE_MAX_S, _PAUSE_S * 2.0 ** min(self._refusals - 1, 20))
        if retry_after_s is None:
            retry_after_s = pause_s * (0.5 + chance / 2)
        asked_s = min(retry_after_s, RETRY_AFTER_MAX_S)
        self._not_before = max(self._not_before, now_s + asked_s)

    def next_look_s(self, now_s: float) -> float | None:
        """Seconds until a waiting call may begin; None: when another one has ended."""
        return self._not_before - now_s if now_s < self._not_before else None
