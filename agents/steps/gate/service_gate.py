"""Holds back commands while their service should not be called.

:mod:`agents.steps.gate.service_rules` decides; this module waits, and logs what changes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

import structlog

from agents.steps.gate.admission import Change, Hold
from agents.steps.gate.flood_guard import Ending, ending_of, is_last_attempt
from agents.steps.gate.note import note_of
from agents.steps.gate.outcome import Outcome, outcome_of
from agents.steps.gate.service_rules import (
    Asked,
    CallEnd,
    GateSettings,
    Pass,
    ServiceRules,
    calls_again,
)
from schemas.records import StepCommand, StepResult
from streams import metrics
from streams.runtime.window import GivenBackError

log = structlog.get_logger()

_HELD: Counter[tuple[str, Hold]] = Counter()
"""By service, the gates of this process that hold its commands back: one for each step."""
_EVENTS = {
    Hold.FLOOD_GUARD: ("flood_guard_paused", "flood_guard_resumed"),
    Hold.BREAKER_OPEN: ("breaker_opened", "breaker_closed"),
    Hold.THROTTLED: ("service_throttled", "service_not_throttled"),
}
_GAUGES = {
    Hold.FLOOD_GUARD: metrics.FLOOD_PAUSED,
    Hold.BREAKER_OPEN: metrics.BREAKER_OPEN,
}


class ServiceGate:
    """Admits the commands of one process, service by service.

    A command that waits keeps its slot; when all slots wait, the lanes fill, and the topics
    are not read further. Waiting commands are not acknowledged, so they are not lost.
    """

    def __init__(self, settings: GateSettings) -> None:
        self._settings = settings
        self._rules: dict[str, ServiceRules] = {}
        self._first_attempts: Counter[str] = Counter()
        """Waiting commands whose failure would not be final."""
        self._retries: Counter[str] = Counter()
        """Commands that wait because of the retry budget."""
        self._limits: Counter[str] = Counter()
        """Calls of each service that may run at once, as the metric says."""
        self._changed: asyncio.Event | None = None
        """Set when waiting commands should check again."""
        self._shut = False
        self._noted = False
        self.on_change: Callable[[], None] = lambda: None
        """Called when commands begin to be held back, and when none is any more."""

    async def admitted(self, command: StepCommand, *, left_s: Callable[[], float]) -> Pass | None:
        """Wait until a command may be run; the caller then reports its end to :meth:`ended`.

        Args:
            command: the command to be run.
            left_s: seconds for which the command is still wanted; called again after each wait.

        Returns:
            The pass of the command; None if it is no longer wanted, and the caller reports why.

        Raises:
            GivenBackError: the gate is shut, and the command had not begun, or its service had
                only refused it.
        """
        service, asked = command.service, _asked(command)
        self._first_attempts[service] += not asked.last_attempt
        try:
            while (wait_s := left_s()) > 0:
                if self._shut:
                    raise GivenBackError
                given = self._admit(service, asked)
                if isinstance(given, Pass):
                    return given
                await self._change(service, given, asked, wait_s)
        finally:
            self._first_attempts[service] -= not asked.last_attempt
            if not self._first_attempts[service]:
                self.look_again()
        return None

    def admitted_at_once(self, command: StepCommand) -> Pass | None:
        """As :meth:`admitted`, for a command that is wanted; None if it has to wait."""
        if self._shut:
            return None
        given = self._admit(command.service, _asked(command))
        return given if isinstance(given, Pass) else None

    def ended(
        self,
        given: Pass | None,
        command: StepCommand,
        result: StepResult | None,
        *,
        whole_time: bool,
    ) -> bool:
        """Note how an admitted command ended.

        Args:
            given: its pass; None: it was no longer wanted.
            command: the command.
            result: None: it was cancelled with its process.
            whole_time: whether the service had the time that its pipeline gives it.

        Returns:
            Whether the same attempt is to be made again, after :meth:`admitted`; the result is
            not reported then.
        """
        if given is None:
            return False
        now_s = time.monotonic()
        outcome = outcome_of(result, service=command.service, whole_time=whole_time)
        again = result is not None and calls_again(given, outcome)
        retry_after_ms = result.retry_after_ms if result is not None else None
        how = CallEnd(
            ending=Ending.OTHER if result is None or again else ending_of(command, result),
            outcome=outcome,
            retry_after_s=None if retry_after_ms is None else retry_after_ms / 1000,
            took_s=now_s - given.began_s,
        )
        rules = self._rules[command.service]
        changes = rules.ended(given, how, now_s=now_s, chance=random.random())
        self._tell(command.service, rules, changes)
        if outcome is Outcome.THROTTLED:
            metrics.THROTTLED_CALLS.labels(command.service).inc()
        self.look_again()
        return again

    def hedge(self, service: str) -> bool:
        """Whether a second call may be made beside one that was admitted and runs."""
        return self._rules[service].hedge(time.monotonic())

    def look_again(self) -> None:
        """Make waiting commands check whether they still have to wait."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def paused(self) -> str | None:
        """The services that are asked by probes only; None: none. For any thread."""
        names = [name for name, rules in list(self._rules.items()) if rules.probes_only]
        return f"asked by probes only: {', '.join(names)}" if names else None

    def note(self) -> str:
        """Which services' commands are held back, and why; empty: none. For any thread."""
        return note_of(self._holds())

    def shut(self) -> None:
        """Raise GivenBackError for every command that waits, now and until :meth:`open`."""
        self._shut = True
        self.look_again()

    def open(self) -> None:
        """Let commands come and wait again."""
        self._shut = False

    def _holds(self) -> Iterator[tuple[str, Hold]]:
        for service, rules in list(self._rules.items()):
            for hold in rules.holds():
                yield service, hold
            if self._retries[service]:
                yield service, Hold.RETRIES

    def _admit(self, service: str, asked: Asked) -> Pass | Hold:
        rules = self._rules.get(service)
        if rules is None:
            rules = self._rules[service] = ServiceRules(self._settings)
            self._show_limit(service, rules)
        if self._leaves_probe(service, asked):
            return next(rules.holds())
        return rules.admit(asked, time.monotonic())

    def _leaves_probe(self, service: str, asked: Asked) -> bool:
        """True if another command should be the probe: one whose failure makes no dead letter."""
        others = asked.last_attempt and self._first_attempts[service] > 0
        return others and self._rules[service].probes_only

    async def _change(self, service: str, hold: Hold, asked: Asked, wait_s: float) -> None:
        look_s = self._rules[service].next_look_s(hold, time.monotonic())
        if look_s is not None and not self._leaves_probe(service, asked):
            wait_s = min(wait_s, look_s)
        if self._changed is None:
            self._changed = asyncio.Event()
        changed, waits = self._changed, hold is Hold.RETRIES
        self._retries[service] += waits
        if waits:
            metrics.RETRIES_HELD.labels(service).inc()
        self._note_changed()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await changed.wait()
        finally:
            self._retries[service] -= waits

    def _tell(self, service: str, rules: ServiceRules, changes: Mapping[Hold, Change]) -> None:
        for hold, change in changes.items():
            begins = change is Change.PAUSED
            facts: dict[str, object] = {"service": service}
            if hold is Hold.FLOOD_GUARD:
                facts["dead_letters"] = rules.dead_lettered
            begun, over = _EVENTS[hold]
            if not begins:
                log.info(over, **facts)
            elif hold is Hold.FLOOD_GUARD:
                log.error(begun, **facts)
            else:
                log.warning(begun, **facts)
            _show(service, hold, held=begins)
        self._show_limit(service, rules)
        self._note_changed()

    def _show_limit(self, service: str, rules: ServiceRules) -> None:
        more = rules.limit - self._limits[service]
        if more:
            # The gates of this process add up.
            metrics.SERVICE_CALLS_MAX.labels(service).inc(more)
            self._limits[service] += more

    def _note_changed(self) -> None:
        noted = any(True for _ in self._holds())
        if noted is not self._noted:
            self._noted = noted
            self.on_change()


def _asked(command: StepCommand) -> Asked:
    return Asked(last_attempt=is_last_attempt(command), retry=command.attempt > 1)


def _show(service: str, hold: Hold, *, held: bool) -> None:
    _HELD[service, hold] += 1 if held else -1
    gauge = _GAUGES.get(hold)
    if gauge is not None:
        gauge.labels(service).set(_HELD[service, hold] > 0)
