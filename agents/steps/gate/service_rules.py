"""The rules of one service in one process, asked as one. Pure: no clock, no chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from agents.steps.gate.admission import Admission, Change, Hold
from agents.steps.gate.breaker import Breaker, BreakerPass, BreakerSettings
from agents.steps.gate.flood_guard import Ending, FloodGuard, FloodGuardSettings
from agents.steps.gate.outcome import Outcome
from agents.steps.gate.retry_budget import RetryBudget, RetryBudgetSettings
from agents.steps.gate.throttle import Throttle


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """The settings of all rules."""

    flood_guard: FloodGuardSettings = field(default_factory=FloodGuardSettings)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    retry_budget: RetryBudgetSettings = field(default_factory=RetryBudgetSettings)
    slots: int = 64
    """Calls at once of one process."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the rules have to know about a command."""

    last_attempt: bool
    """A failure of this attempt is final, whatever its kind."""
    retry: bool
    """It is not the first attempt."""


@dataclass(frozen=True, slots=True)
class Pass:
    """A command that may be run, and by which rules."""

    asked: Asked
    guard: Admission
    breaker: BreakerPass
    began_s: float


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How the call of a command ended."""

    ending: Ending
    outcome: Outcome
    retry_after_s: float | None
    """The service's own bound, if it gave one."""
    took_s: float


class ServiceRules:
    """Flood guard, breaker, throttle and retry budget of one service.

    Times are seconds of any one monotonic clock. Nothing is taken before every rule agrees.
    """

    def __init__(self, settings: GateSettings) -> None:
        self._slow_s = settings.breaker.slow_call_s
        self._guard = FloodGuard(settings.flood_guard)
        self._breaker = Breaker(settings.breaker)
        self._throttle = Throttle(settings.slots)
        self._budget = RetryBudget(settings.retry_budget)

    @property
    def probes_only(self) -> bool:
        """Whether a few commands find out if the service is back, and others wait."""
        return self._guard.paused or not self._breaker.closed

    @property
    def dead_lettered(self) -> int:
        """Dead letters in the window of the flood guard."""
        return self._guard.dead_lettered

    @property
    def limit(self) -> int:
        """Calls that may run at once."""
        return self._throttle.limit

    def holds(self) -> Iterator[Hold]:
        """What holds commands back whatever their attempt."""
        if self._guard.paused:
            yield Hold.FLOOD_GUARD
        if not self._breaker.closed:
            yield Hold.BREAKER_OPEN
        if self._throttle.active:
            yield Hold.THROTTLED

    def admit(self, asked: Asked, now_s: float) -> Pass | Hold:
        """Ask before a command is run; end a pass with :meth:`ended`, also a cancelled one."""
        if not self._breaker.admits(now_s):
            return Hold.BREAKER_OPEN
        if not self._throttle.admits(now_s):
            return Hold.THROTTLED
        if asked.retry and not self._budget.admits(now_s):
            return Hold.RETRIES
        guard = self._guard.admit(last_attempt=asked.last_attempt, now_s=now_s)
        if guard is Admission.WAIT:
            return Hold.FLOOD_GUARD
        self._throttle.begin()
        self._budget.begin(now_s, retry=asked.retry)
        return Pass(asked, guard, self._breaker.begin(), now_s)

    def hedge(self, now_s: float) -> bool:
        """Whether a second call may be made beside one that runs; it counts as a retry."""
        allowed = self._breaker.closed and not self._throttle.active and self._budget.admits(now_s)
        if allowed:
            self._budget.begin(now_s, retry=True)
        return allowed

    def ended(
        self, given: Pass, how: CallEnd, *, now_s: float, chance: float
    ) -> dict[Hold, Change]:
        """Note how a command with a pass ended; return what begins and ends to hold commands.

        Args:
            given: the pass.
            how: the end of its call.
            now_s: the time.
            chance: a random number from 0 to 1.
        """
        throttled = self._throttle.active
        self._tell_throttle(given, how, now_s, chance)
        changes = {
            Hold.FLOOD_GUARD: self._guard.ended(
                given.guard, how.ending, last_attempt=given.asked.last_attempt, now_s=now_s
            ),
            Hold.BREAKER_OPEN: self._breaker.ended(
                given.breaker, self._failed(how), now_s=now_s, chance=chance
            ),
            Hold.THROTTLED: None,
        }
        if throttled is not self._throttle.active:
            changes[Hold.THROTTLED] = Change.RESUMED if throttled else Change.PAUSED
        return {hold: change for hold, change in changes.items() if change is not None}

    def next_look_s(self, hold: Hold, now_s: float) -> float | None:
        """Seconds until what this hold stopped may begin; None: when another command has ended."""
        match hold:
            case Hold.BREAKER_OPEN:
                return self._breaker.next_look_s(now_s)
            case Hold.THROTTLED:
                return self._throttle.next_look_s(now_s)
            case Hold.FLOOD_GUARD:
                return self._guard.next_look_s(now_s)
            case Hold.RETRIES:
                return self._budget.next_look_s(now_s)

    def _failed(self, how: CallEnd) -> bool | None:
        if how.outcome in (Outcome.UNKNOWN, Outcome.THROTTLED):
            return None
        slow = 0 < self._slow_s <= how.took_s
        return slow or how.outcome is Outcome.FAILED

    def _tell_throttle(self, given: Pass, how: CallEnd, now_s: float, chance: float) -> None:
        match how.outcome:
            case Outcome.THROTTLED:
                retry_after_s = how.retry_after_s
                self._throttle.refused(given.began_s, retry_after_s, now_s=now_s, chance=chance)
            case Outcome.ANSWERED:
                self._throttle.succeeded()
            case _:
                self._throttle.ended()


def calls_again(given: Pass, outcome: Outcome) -> bool:
    """Whether the same attempt is made again when its service takes calls, and nothing is reported.

    A throttled call costs no attempt. Nor does the failed probe of a last attempt: it would be a
    dead letter only because the service was away.
    """
    probe = given.breaker.admission is Admission.PROBE
    failed_probe = probe and given.asked.last_attempt and outcome is Outcome.FAILED
    return outcome is Outcome.THROTTLED or failed_probe
