"""Bounds the rate of calls of each key. Pure: the clock is an argument.

Source of the rule: the generic cell rate algorithm (ITU-T I.371): one time for each key says when
its bucket would be empty again.
"""

from __future__ import annotations

from collections import OrderedDict

_KEYS_MAX = 10_000
_BYTES_OF_A_CALL = 64 * 1024
_CALLS_MAX = 1024
"""As how many calls one call counts at most: a size that a caller only claims locks nobody out."""


def calls_of(body_bytes: int) -> int:
    """As how many calls a call with a body of this size counts: one more for each 64 KiB.

    It never counts as more than 1024.
    """
    return min(1 + body_bytes // _BYTES_OF_A_CALL, _CALLS_MAX)


class Rates:
    """The rates of many keys; those that were not used for longest are forgotten first."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._interval_s = 1.0 / per_s
        self._burst_s = burst / per_s
        self._empty_at: OrderedDict[str, float] = OrderedDict()

    def take(self, key: str, now_s: float, calls: int = 1) -> float:
        """Count a call, or a large one as several.

        A call that counts as more than a burst is taken when the bucket is empty, and the next
        ones wait.

        Returns:
            0 if the key may call; otherwise the seconds after which it may, and the call is not
            counted.
        """
        begin = max(self._empty_at.get(key, 0.0), now_s)
        empty_at = begin + self._interval_s * calls
        late_s = min(begin, empty_at - self._burst_s) - now_s
        # A part of an interval may be lost in rounding.
        if late_s > self._interval_s * 1e-6:
            return late_s
        self._keep(key, empty_at)
        return 0.0

    def add(self, key: str, now_s: float, calls: int) -> None:
        """Count what a call that was taken turned out to be; the next ones wait for it."""
        begin = max(self._empty_at.get(key, 0.0), now_s)
        self._keep(key, begin + self._interval_s * calls)

    def _keep(self, key: str, empty_at: float) -> None:
        self._empty_at[key] = empty_at
        self._empty_at.move_to_end(key)
        while len(self._empty_at) > _KEYS_MAX:
            self._empty_at.popitem(last=False)
