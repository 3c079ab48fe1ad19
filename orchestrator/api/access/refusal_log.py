"""Logs refused calls, a limited number of lines however many there are."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from orchestrator.api.errors import ApiError

log = structlog.get_logger()

_EVERY_S = 10.0


class RefusalLog:
    """One line ``call_refused`` for each code in ten seconds, with the number of those before it.

    Whoever is refused could otherwise fill the disk.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def note(self, error: ApiError, **fields: str) -> None:
        """Count a refusal, and log it if the last line is old enough.

        Args:
            error: the refusal; only its code is logged.
            fields: what is known of the call, such as its transport; never a secret.
        """
        code, now = error.code, self._clock()
        if now - self._last.get(code, -_EVERY_S) < _EVERY_S:
            self._left_out[code] = self._left_out.get(code, 0) + 1
            return
        self._last[code] = now
        log.warning("call_refused", code=code, left_out=self._left_out.pop(code, 0), **fields)
