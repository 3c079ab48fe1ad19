"""Bounds the rate of calls of each key. Pure: the clock is an argument.

Source of the rule: the generic cell rate algorithm (ITU-T I.371): one time for each key says when
its bucket would be empty again.
"""

from __future__ import annotations

from collections import OrderedDict

_KEYS_MAX = 10_000


class Rates:
    """The rates of many keys; those that were not used for longest are forgotten first."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._interval_s = 1.0 / per_s
        self._burst_s = burst / per_s
        self._empty_at: OrderedDict[str, float] = OrderedDict()

    def take(self, key: str, now_s: float) -> float:
        """Count a call.

        Returns:
            0 if the key may call; otherwise the seconds after which it may, and the call is not
            counted.
        """
        empty_at = max(self._empty_at.get(key, 0.0), now_s) + self._interval_s
        late_s = empty_at - now_s - self._burst_s
        # A part of an interval may be lost in rounding.
        if late_s > self._interval_s * 1e-6:
            return late_s
        self._empty_at[key] = empty_at
        self._empty_at.move_to_end(key)
        while len(self._empty_at) > _KEYS_MAX:
            self._empty_at.popitem(last=False)
        return 0.0
