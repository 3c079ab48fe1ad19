"""Counts over the last seconds. Pure: the clock is an argument."""

from __future__ import annotations

from collections import deque

PARTS = 30


class RollingCounts:
    """How many calls there were in a window that ends now, and how many of them were marked.

    The window moves in thirtieths of its length: what a call counts for ends up to that much
    early.

    Args:
        window_s: the length of the window in seconds.
    """

    def __init__(self, window_s: float) -> None:
        self._part_s = window_s / PARTS
        self._parts: deque[list[int]] = deque()
        """For each part with a call, oldest first: its number, its calls, and the marked ones."""
        self.calls = 0
        """Calls in the window, as of the last :meth:`add` or :meth:`look`."""
        self.marked = 0
        """Marked calls in the window."""

    def add(self, now_s: float, *, marked: bool) -> None:
        """Count a call."""
        part = self._moved(now_s)
        if not self._parts or self._parts[-1][0] < part:
            self._parts.append([part, 0, 0])
        newest = self._parts[-1]
        newest[1] += 1
        newest[2] += marked
        self.calls += 1
        self.marked += marked

    def look(self, now_s: float) -> None:
        """Forget what has left the window."""
        self._moved(now_s)

    def clear(self) -> None:
        """Forget all."""
        self._parts.clear()
        self.calls = self.marked = 0

    def next_change_s(self, now_s: float) -> float | None:
        """Seconds until something leaves the window; None: it is empty."""
        if not self._parts:
            return None
        return max(0.0, (self._parts[0][0] + PARTS) * self._part_s - now_s)

    def _moved(self, now_s: float) -> int:
        part = int(now_s / self._part_s)
        while self._parts and self._parts[0][0] <= part - PARTS:
            _, calls, marked = self._parts.popleft()
            self.calls -= calls
            self.marked -= marked
        return part
