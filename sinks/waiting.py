"""Waits for a Postgres that does not take what it is given, with growing pauses."""

import asyncio
import time

import structlog

from sinks.errors import SinkBlockedError, SinkUnavailableError

_log = structlog.get_logger()

PAUSE_MIN_S = 0.2
PAUSE_MAX_S = 5.0
BLOCKED_PAUSE_MAX_S = 15.0
"""While a person has to act: the account that is refused is not asked so often."""
_LINES_FIRST_S = 5.0
_LINES_MAX_S = 600.0


class Waiting:
    """One wait, from the first error to the first success.

    Logs ``postgres_away``, or ``postgres_refuses_all`` while a person has to act, once for each
    cause and then at growing intervals of 5 s to 10 min; ``postgres_takes_rows`` at the end.
    """

    def __init__(self, **fields: object) -> None:
        """``fields`` are added to each line."""
        self._log = _log.bind(**fields)
        self._since = 0.0
        self._pause_s = PAUSE_MIN_S
        self._cause = ""
        self._line_due = 0.0
        self._lines_s = _LINES_FIRST_S

    async def pause(self, error: SinkUnavailableError) -> None:
        """Sleep, longer from time to time."""
        self._tell(error, time.monotonic())
        await asyncio.sleep(self._pause_s)
        most = BLOCKED_PAUSE_MAX_S if isinstance(error, SinkBlockedError) else PAUSE_MAX_S
        self._pause_s = min(most, self._pause_s * 2)

    def over(self) -> None:
        """Note that it went on; nothing where nothing was waited for."""
        if self._cause:
            self._log.info("postgres_takes_rows", waited_s=round(time.monotonic() - self._since, 1))
            self._cause = ""

    def _tell(self, error: SinkUnavailableError, now: float) -> None:
        cause = str(error)
        if not self._cause:
            self._since = now
        if cause != self._cause:
            self._cause, self._lines_s = cause, _LINES_FIRST_S
        elif now < self._line_due:
            return
        blocked = isinstance(error, SinkBlockedError)
        self._log.warning(
            "postgres_refuses_all" if blocked else "postgres_away",
            code=error.code,
            reason=cause,
            waited_s=round(now - self._since, 1),
        )
        self._line_due = now + self._lines_s
        self._lines_s = min(_LINES_MAX_S, self._lines_s * 2)
