"""Bounds the share of calls that are retries. Pure.

When a service begins to fail, retries multiply its load just then. First attempts are not
bounded: without them nobody would know that the service is back.
"""

from __future__ import annotations

from dataclasses import dataclass

from agents.steps.gate.rolling import PARTS, RollingCounts

_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudgetSettings:
    """``ORCH_RETRY_BUDGET_<FIELD>``: how many of a service's calls may be retries."""

    percent: float = 20.0
    """The share of the calls of the last minute, in one worker process. Retries above it wait."""

    per_minute_min: int = 600
    """So many retries a minute are always allowed: with few calls a share means little, and
    retries that wait keep their slots. Lower it for a service that cannot take them."""

    def __post_init__(self) -> None:
        if not 0 <= self.percent <= 100:
            raise ValueError(f"percent is {self.percent}; it must be 0 to 100")
        if self.per_minute_min < 1:
            raise ValueError(f"per_minute_min is {self.per_minute_min}; it must be at least 1")


class RetryBudget:
    """The budget of one service in one process. Times are seconds of one monotonic clock."""

    def __init__(self, settings: RetryBudgetSettings) -> None:
        self._settings = settings
        # A part of the window longer: a retry counts for a minute at least. Otherwise a burst could
        # follow one of a minute before by a part too early.
        self._counts = RollingCounts(_WINDOW_S * PARTS / (PARTS - 1))

    def admits(self, now_s: float) -> bool:
        """Whether a retry may begin."""
        self._counts.look(now_s)
        shared = self._settings.percent / 100 * (self._counts.calls + 1)
        return self._counts.marked + 1 <= max(shared, self._settings.per_minute_min)

    def begin(self, now_s: float, *, retry: bool) -> None:
        """A call begins."""
        self._counts.add(now_s, marked=retry)

    def next_look_s(self, now_s: float) -> float | None:
        """Seconds until a waiting retry may begin without a further call; None: it may now."""
        return None if self.admits(now_s) else self._counts.next_change_s(now_s)
