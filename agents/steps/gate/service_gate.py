"""Holds back commands while their service floods the dead letters.

:mod:`agents.steps.gate.flood_guard` decides; this module waits, and logs when a service is paused.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress

import structlog

from agents.steps.gate.flood_guard import (
    Admission,
    Change,
    Ending,
    FloodGuard,
    FloodGuardSettings,
    is_last_attempt,
)
from schemas.records import StepCommand
from streams import metrics
from streams.runtime.window import GivenBackError

log = structlog.get_logger()

_PAUSES: Counter[str] = Counter()
"""By service, the gates of this process that ask it by probes only: one for each step."""


class ServiceGate:
    """Admits the commands of one process, service by service.

    A command that waits keeps its slot; when all slots wait, the lanes fill, and the topics
    are not read further. Waiting commands are not acknowledged, so they are not lost.
    """

    def __init__(self, settings: FloodGuardSettings) -> None:
        self._guards: defaultdict[str, FloodGuard] = defaultdict(lambda: FloodGuard(settings))
        self._first_attempts: Counter[str] = Counter()
        self._changed: asyncio.Event | None = None
        """Set when waiting commands should check again."""
        self._shut = False
        self.on_change: Callable[[], None] = lambda: None
        """Called when a service is paused, and when it is asked again."""

    async def admitted(
        self, command: StepCommand, *, left_s: Callable[[], float]
    ) -> Admission | None:
        """Wait until a command may be run; the caller then reports its ending to :meth:`ended`.

        Args:
            command: the command to be run.
            left_s: seconds for which the command is still wanted; called again after each wait.

        Returns:
            What the command may do; None if it is no longer wanted, and the caller reports why.

        Raises:
            GivenBackError: the gate is shut, and the command had not begun.
        """
        service, last = command.service, is_last_attempt(command)
        self._first_attempts[service] += not last
        try:
            while (wait_s := left_s()) > 0:
                if self._shut:
                    raise GivenBackError
                admission = self._admit(service, last)
                if admission is not Admission.WAIT:
                    return admission
                await self._change(service, last, wait_s)
        finally:
            self._first_attempts[service] -= not last
            if not self._first_attempts[service]:
                self.look_again()
        return None

    def admitted_at_once(self, command: StepCommand) -> Admission | None:
        """As :meth:`admitted`, for a command that is wanted; None if it has to wait."""
        if self._shut:
            return None
        admission = self._admit(command.service, is_last_attempt(command))
        return None if admission is Admission.WAIT else admission

    def ended(self, admission: Admission | None, command: StepCommand, ending: Ending) -> None:
        """Note how an admitted command ended, including a cancelled one."""
        if admission is None:
            return
        guard, last = self._guards[command.service], is_last_attempt(command)
        change = guard.ended(admission, ending, last_attempt=last, now_s=time.monotonic())
        if change is not None:
            say = log.error if change is Change.PAUSED else log.info
            say(str(change), service=command.service, dead_letters=guard.dead_lettered)
            _show(command.service, paused=change is Change.PAUSED)
            self.on_change()
        self.look_again()

    def look_again(self) -> None:
        """Make waiting commands check whether they still have to wait."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def paused(self) -> str | None:
        """The services that are asked by probes only; None: none. For any thread."""
        names = [name for name, guard in list(self._guards.items()) if guard.paused]
        return f"asked by probes only: {', '.join(names)}" if names else None

    def shut(self) -> None:
        """Raise GivenBackError for every command that waits, now and until :meth:`open`."""
        self._shut = True
        self.look_again()

    def open(self) -> None:
        """Let commands come and wait again."""
        self._shut = False

    def _admit(self, service: str, last: bool) -> Admission:
        if self._leaves_probe(service, last):
            return Admission.WAIT
        return self._guards[service].admit(last_attempt=last, now_s=time.monotonic())

    def _leaves_probe(self, service: str, last: bool) -> bool:
        """True if another command should be the probe: one whose failure makes no dead letter."""
        return self._guards[service].paused and last and self._first_attempts[service] > 0

    async def _change(self, service: str, last: bool, wait_s: float) -> None:
        look_s = self._guards[service].next_look_s(time.monotonic())
        if look_s is not None and not self._leaves_probe(service, last):
            wait_s = min(wait_s, look_s)
        if self._changed is None:
            self._changed = asyncio.Event()
        changed = self._changed
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await changed.wait()


def _show(service: str, *, paused: bool) -> None:
    _PAUSES[service] += 1 if paused else -1
    metrics.FLOOD_PAUSED.labels(service).set(_PAUSES[service] > 0)
