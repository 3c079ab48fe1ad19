"""A circuit breaker: gives a service that fails time to recover. Pure: no clock, no chance.

When more than half of the calls of the last seconds failed, no command calls the service for a
moment; then a few commands find out whether it is back. Meanwhile commands wait: a wait costs no
attempt, and makes no dead letter.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agents.steps.gate.admission import Admission, Change
from agents.steps.gate.rolling import RollingCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """``ORCH_BREAKER_<FIELD>``: when a worker stops calling a service that fails."""

    errors_percent: float = 50.0
    """The breaker of a service opens when more than this share of its calls failed. 100: never."""

    window_s: float = 30.0
    """The calls of this time count, those of one worker process."""

    calls_min: int = 20
    """With fewer calls in the window the breaker stays closed."""

    open_s: float = 5.0
    """How long an open breaker lets no call through. It doubles each time a probe fails. A random
    part of up to a fifth is added, so that workers do not probe together."""

    open_max_s: float = 30.0
    """The longest that it grows to, before the random part."""

    probes: int = 3
    """So many calls in a row have to succeed before the breaker closes. Not more of them run at
    the same time."""

    slow_call_s: float = 0.0
    """A call that takes longer counts as failed, whatever its answer. 0: the time does not
    count."""

    def __post_init__(self) -> None:
        if not 0 < self.errors_percent <= 100:
            raise ValueError(
                f"errors_percent is {self.errors_percent}; it must be above 0 and at most 100"
            )
        for name in ("calls_min", "probes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("window_s", "open_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.open_max_s < self.open_s:
            raise ValueError(
                f"open_max_s is {self.open_max_s}; it must be at least open_s, {self.open_s}"
            )
        if self.slow_call_s < 0:
            raise ValueError(f"slow_call_s is {self.slow_call_s}; it must not be negative")


class BreakerState(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """A few calls find out whether the service is back."""


class Breaker:
    """The breaker of one service in one process. Times are seconds of any one monotonic clock."""

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._counts = RollingCounts(settings.window_s)
        self._begun = 0
        self._running: set[int] = set()
        """The numbers of the calls that run, without probes."""
        self._open_s = settings.open_s
        self._probes_at = 0.0
        """When probes may begin; only while the breaker is not closed."""
        self._probing = 0
        self._succeeded = 0
        self._opened = 0
        """How often it has opened: a probe of an earlier time decides nothing."""
        self._closed = True

    @property
    def closed(self) -> bool:
        """Whether calls go through without a limit."""
        return self._closed

    def state(self, now_s: float) -> BreakerState:
        """What it does with a call now."""
        if self._closed:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now_s < self._probes_at else BreakerState.HALF_OPEN

    def admits(self, now_s: float) -> bool:
        """Whether a call may begin."""
        if self._closed:
            return True
        wanted = self._settings.probes - self._succeeded
        return now_s >= self._probes_at and self._probing < wanted

    def begin(self) -> BreakerPass:
        """A call begins; only after :meth:`admits`. End it with :meth:`ended`."""
        self._begun += 1
        if self._closed:
            self._running.add(self._begun)
            return BreakerPass(Admission.GO, self._opened, self._begun)
        self._probing += 1
        return BreakerPass(Admission.PROBE, self._opened, self._begun)

    def ended(
        self, given: BreakerPass, failed: bool | None, *, now_s: float, chance: float
    ) -> Change | None:
        """Note how a call ended.

        Args:
            given: what :meth:`begin` returned.
            failed: whether the service failed; None: it is not known, such as after a cancel.
            now_s: the time.
            chance: a random number from 0 to 1.
        """
        if given.admission is Admission.PROBE:
            return self._probe_ended(given, failed, now_s, chance)
        self._running.discard(given.number)
        if failed is None or not self._closed:
            return None
        self._counts.add(now_s, marked=failed)
        return self._open(now_s, chance) if failed and self._is_too_much(given) else None

    def next_look_s(self, now_s: float) -> float | None:
        """Seconds until a waiting call may begin; None: when another one has ended."""
        return self._probes_at - now_s if now_s < self._probes_at else None

    def _is_too_much(self, last: BreakerPass) -> bool:
        """Whether the service fails, now that ``last`` has failed.

        Failures are often quicker than answers. So calls that began before ``last`` and still run
        count as good: otherwise the first that come back of many calls would be failures only.
        """
        counts, settings = self._counts, self._settings
        calls = counts.calls + sum(number < last.number for number in self._running)
        enough = counts.calls >= settings.calls_min
        return enough and counts.marked * 100 > settings.errors_percent * calls

    def _probe_ended(
        self, given: BreakerPass, failed: bool | None, now_s: float, chance: float
    ) -> Change | None:
        if given.opened != self._opened or self._closed:
            return None
        self._probing -= 1
        if failed is None:
            return None
        if failed:
            self._open_s = min(self._open_s * 2, self._settings.open_max_s)
            self._open(now_s, chance)
            return None
        self._succeeded += 1
        if self._succeeded < self._settings.probes:
            return None
        self._closed = True
        self._open_s = self._settings.open_s
        self._counts.clear()
        return Change.RESUMED

    def _open(self, now_s: float, chance: float) -> Change:
        self._closed = False
        self._opened += 1
        self._probing = self._succeeded = 0
        self._probes_at = now_s + self._open_s * (1 + chance / 5)
        return Change.PAUSED


@dataclass(frozen=True, slots=True)
class BreakerPass:
    """A call that the breaker let through."""

    admission: Admission
    opened: int
    """How often the breaker had opened when the call began."""
    number: int
    """The calls began in the order of their numbers."""
