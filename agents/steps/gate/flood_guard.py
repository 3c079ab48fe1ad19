"""Keeps a failing service from emptying its topic into the dead-letter topic. Pure: no clock.

A dead letter needs a person's attention; a waiting topic does not. So when most commands of a
service end as dead letters, its consumption pauses, and one command every ``probe_every_s``
finds out whether the service is back. The guard counts dead letters, not failed calls: it
protects the people who would have to look at them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from agents.steps.gate.admission import Admission, Change
from schemas.records import ErrorCategory, ResultKind, StepCommand, StepResult


class Ending(StrEnum):
    """How an execution ended, as the guard distinguishes it."""

    FINE = "fine"
    """The service did its work."""
    RETRIED = "retried"
    """It failed, and will be tried again: no dead letter yet."""
    DEAD_LETTERED = "dead_lettered"
    """It failed for good, and not because of the record: retries used up, or a bug of ours."""
    OTHER = "other"
    """Poison, refusals, cancels, deadlines: the service is not at fault. If these counted, any
    writer of records could stop a service for all tenants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FloodGuardSettings:
    """``ORCH_FLOOD_GUARD_<FIELD>``: when a service counts as flooding."""

    window: int = 50
    """How many of the newest executions count, successes and dead letters together. A service
    leaves at most one dead letter more than half of them before it is paused."""

    probe_every_s: float = 30.0
    """While a service is paused, one command is run each time this interval has passed. A probe may
    cost a dead letter; with a long interval the end of an outage is noticed late."""

    def __post_init__(self) -> None:
        if self.window < 2:
            raise ValueError(f"window is {self.window}; it must be at least 2")
        if self.probe_every_s <= 0:
            raise ValueError(f"probe_every_s is {self.probe_every_s}; it must be above 0")

    @property
    def dead_lettered_max(self) -> int:
        """Half of the window; more dead letters in it than this pause the service."""
        return self.window // 2


class FloodGuard:
    """The guard of one service in one process. Times are seconds of any one monotonic clock.

    Last attempts in flight count as dead-lettered until they end. So at most
    ``window // 2 + 1`` dead letters are left before the pause, however many run at once. After a
    crash the guard starts anew: up to the same number again.
    """

    def __init__(self, settings: FloodGuardSettings) -> None:
        self._settings = settings
        self._endings: deque[Ending] = deque(maxlen=settings.window)
        self._last_attempts = 0
        self._paused = False
        self._next_probe_at = 0.0
        self._probing = False

    @property
    def paused(self) -> bool:
        """True while only probes run."""
        return self._paused

    @property
    def dead_lettered(self) -> int:
        """Dead letters in the window."""
        return self._endings.count(Ending.DEAD_LETTERED)

    def admit(self, *, last_attempt: bool, now_s: float) -> Admission:
        """Ask before a command is run; after ``GO`` and ``PROBE`` call :meth:`ended`."""
        if self.paused:
            if self._probing or now_s < self._next_probe_at:
                return Admission.WAIT
            self._probing = True
            self._next_probe_at = now_s + self._settings.probe_every_s
        elif (
            last_attempt
            and self.dead_lettered + self._last_attempts > self._settings.dead_lettered_max
        ):
            # If all attempts in flight fail, the guard pauses; if one does not, there is room.
            return Admission.WAIT
        self._last_attempts += last_attempt
        return Admission.PROBE if self.paused else Admission.GO

    def ended(
        self, admission: Admission, ending: Ending, *, last_attempt: bool, now_s: float
    ) -> Change | None:
        """Note how a command with this admission ended, including a cancelled one."""
        self._last_attempts -= last_attempt
        if admission is Admission.PROBE:
            self._probing = False
            if ending is Ending.FINE:
                self._paused = False
                self._endings.clear()
                return Change.RESUMED
        if ending in (Ending.FINE, Ending.DEAD_LETTERED):
            self._endings.append(ending)
        if not self._paused and self.dead_lettered > self._settings.dead_lettered_max:
            self._paused = True
            self._next_probe_at = now_s + self._settings.probe_every_s
            return Change.PAUSED
        return None

    def next_look_s(self, now_s: float) -> float | None:
        """Seconds until a waiting command may probe; None if it waits for another one to end."""
        if not self.paused or self._probing:
            return None
        return max(0.0, self._next_probe_at - now_s)


def is_last_attempt(command: StepCommand) -> bool:
    """True if a failure of this attempt is final, whatever its kind."""
    return command.attempt >= command.max_attempts


def ending_of(command: StepCommand, result: StepResult) -> Ending:
    """Classify a result by the rule of the router, which makes the dead letter."""
    if result.kind is ResultKind.SUCCEEDED:
        return Ending.FINE
    error = result.error
    if result.kind is not ResultKind.FAILED or error is None:
        return Ending.OTHER
    if error.code == "DEADLINE_EXCEEDED":
        return Ending.OTHER
    if error.retriable:
        return Ending.DEAD_LETTERED if is_last_attempt(command) else Ending.RETRIED
    return Ending.DEAD_LETTERED if error.category is ErrorCategory.INTERNAL else Ending.OTHER
