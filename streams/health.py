"""What a process says about itself: it began, it makes progress, it can do its work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from streams import metrics

_BEAT_S = 0.5

ALIVE_S = 30.0
"""An event loop that did nothing for this time does not make progress."""

ReadyCheck = Callable[[], str | None]
"""Returns what is wrong with a part; None: nothing. Another thread calls it: it may only read."""


class Health:
    """The health of one process; its event loop changes it, any thread may read it.

    A process whose event loop stands still cannot answer for itself, so another thread does. A
    process with several roles has a :meth:`part` for each; it is ready when all of them are.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beat_s: float | None = None
        self._checks: dict[str, ReadyCheck] = {}
        self._starting: str | None = "not begun"
        self._parts: dict[str, Health] = {}

    def part(self, name: str) -> Health:
        """The health of a role of this process, which counts as its own."""
        return self._parts.setdefault(name, Health(clock=self._clock))

    def starting(self, what: str) -> None:
        """Note what the start waits for."""
        self._starting = what

    def started(self) -> None:
        """Note that the start is over; it does not come back."""
        self._starting = None

    def add(self, part: str, check: ReadyCheck) -> None:
        """Ask ``check`` whether a part is ready; a later check of the same part replaces it."""
        self._checks[part] = check

    def beat(self) -> None:
        """Note that the event loop makes progress."""
        self._beat_s = self._clock()

    def stuck(self) -> str | None:
        """Why the process does not make progress; None: it does, or its loop has not begun."""
        if self._beat_s is None:
            return next(filter(None, (part.stuck() for part in self._parts.values())), None)
        silent_s = self._clock() - self._beat_s
        return f"the event loop stands still for {silent_s:.0f} s" if silent_s > ALIVE_S else None

    def start_problem(self) -> str | None:
        """What the start waits for; None: it is over."""
        if not self._parts:
            return self._starting
        waits = {name: part.start_problem() for name, part in self._parts.items()}
        return "; ".join(f"{name} {what}" for name, what in waits.items() if what) or None

    def problems(self) -> Mapping[str, str]:
        """Why the process cannot do its work now, by part; empty: it is ready."""
        if self._parts:
            return {
                f"{name}.{what}": problem
                for name, part in self._parts.items()
                for what, problem in part.problems().items()
            }
        if self._starting is not None:
            return {"start": self._starting}
        found = {part: _result(check) for part, check in list(self._checks.items())}
        return {part: problem for part, problem in found.items() if problem is not None}

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Note the progress of the running event loop inside the block, and measure its delay."""
        beats = asyncio.create_task(self._keep_beating())
        try:
            yield
        finally:
            beats.cancel()
            await asyncio.gather(beats, return_exceptions=True)

    async def _keep_beating(self) -> None:
        while True:
            self.beat()
            due_s = self._clock() + _BEAT_S
            await asyncio.sleep(_BEAT_S)
            metrics.LOOP_DELAY_SECONDS.set(max(0.0, self._clock() - due_s))


def _result(check: ReadyCheck) -> str | None:
    try:
        return check()
    except Exception as error:  # it looks at what another thread may just be changing
        return f"its check failed: {type(error).__name__}"
