"""Waits, with growing pauses, while Postgres does not accept statements."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from sinks.errors import SinkBlockedError, SinkUnavailableError

T = TypeVar("T")

_log = structlog.get_logger()

PAUSE_MIN_S = 0.2
PAUSE_MAX_S = 5.0
BLOCKED_PAUSE_MAX_S = 15.0
"""While an operator has to act: a refused account is tried less often."""
_LINES_FIRST_S = 5.0
_LINES_MAX_S = 600.0


class WaitLog:
    """The log lines about waits in a process; partitions that wait for one cause share them.

    ``postgres_away``, or ``postgres_refuses_all`` while an operator has to act: once for each
    cause, then at growing intervals of 5 s to 10 min. ``postgres_takes_rows`` when no partition
    waits.
    """

    def __init__(self) -> None:
        self._waiting = 0
        self._since = 0.0
        # By cause: when the next line is due, and the interval after it.
        self._due: dict[str, tuple[float, float]] = {}
        self._why: str | None = None

    def why(self) -> str | None:
        """Why partitions wait at present; None: none does. For any thread."""
        return self._why

    def begun(self) -> None:
        """Note that one more partition waits."""
        if self._waiting == 0:
            self._since = time.monotonic()
        self._waiting += 1

    def tell(self, error: SinkUnavailableError) -> None:
        """Log the cause of a wait, unless it was logged a short time ago."""
        now, cause = time.monotonic(), str(error)
        self._why = f"{error.code}: {cause[:300]}"
        due, interval_s = self._due.get(cause, (now, _LINES_FIRST_S))
        if now < due:
            return
        _log.warning(
            "postgres_refuses_all" if isinstance(error, SinkBlockedError) else "postgres_away",
            code=error.code,
            reason=cause,
            waited_s=round(now - self._since, 1),
        )
        self._due[cause] = (now + interval_s, min(_LINES_MAX_S, interval_s * 2))

    def left(self) -> bool:
        """Note that one partition no longer waits; True if it was the last."""
        self._waiting -= 1
        if self._waiting == 0:
            self._due.clear()
            self._why = None
        return self._waiting == 0

    def over(self) -> None:
        """Note that one partition goes on."""
        if self.left():
            waited_s = round(time.monotonic() - self._since, 1)
            _log.info("postgres_takes_rows", waited_s=waited_s)


class Wait:
    """One wait, from the first error to the first success. A pause that is cancelled ends it."""

    def __init__(self, lines: WaitLog) -> None:
        self._lines = lines
        self._pause_s = PAUSE_MIN_S
        self._begun = False

    async def pause(self, error: SinkUnavailableError) -> None:
        """Sleep, longer from time to time."""
        if not self._begun:
            self._begun = True
            self._lines.begun()
        self._lines.tell(error)
        try:
            await asyncio.sleep(self._pause_s)
        except BaseException:
            self._begun = False
            self._lines.left()
            raise
        most = BLOCKED_PAUSE_MAX_S if isinstance(error, SinkBlockedError) else PAUSE_MAX_S
        self._pause_s = min(most, self._pause_s * 2)

    def over(self) -> None:
        """Note that the operation succeeded; does nothing without a wait."""
        if self._begun:
            self._begun = False
            self._lines.over()


async def when_taken(lines: WaitLog, attempt: Callable[[], Awaitable[T]]) -> T:
    """Run an operation on Postgres; while it is down or refuses everything, wait and try again.

    Unbounded: cancel it.

    Args:
        lines: the log lines of the process.
        attempt: must leave nothing open when it raises.
    """
    waiting = Wait(lines)
    while True:
        try:
            done = await attempt()
        except SinkUnavailableError as error:
            await waiting.pause(error)
        else:
            waiting.over()
            return done
