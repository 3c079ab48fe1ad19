"""The level of the log, which can be changed while a process runs."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

import structlog

_DEBUG = "debug"
_METHODS = (
    *("debug", "info", "warning", "warn", "error", "exception", "critical", "fatal", "log", "msg"),
    *("is_enabled_for", "get_effective_level"),
)

log = structlog.get_logger()


class LevelledLogger(structlog.BoundLoggerBase):
    """Structlog's filtering logger, with one level for all loggers of the process.

    Structlog has a class for each level, in which the methods below it do nothing, and a logger
    keeps the class that it first wrote with. Here the methods of one class are replaced instead.
    """

    def always(self, event: str, **fields: Any) -> Any:
        """Log a line whatever the level is."""
        return self._proxy_to_logger("info", event, **fields)


def set_level(level: str) -> None:
    """Log lines of this level (``debug``, ``info``, ``warning``, ``error``) and above, from now on.

    Libraries that use the standard library's logging keep their own levels.
    """
    chosen = structlog.make_filtering_bound_logger(level)
    for name in _METHODS:
        setattr(LevelledLogger, name, getattr(chosen, name))


def switch_level_on_signal(configured: str) -> None:
    """From now on SIGUSR1 switches between ``debug`` and the configured level, and logs that.

    Call it in the main thread, once, after ``set_up_logs``. If the configured level is ``debug``,
    the signal switches to ``info`` and back.
    """
    levels = (configured, "info" if configured == _DEBUG else _DEBUG)
    reading, writing = os.pipe()

    def note(_number: int, _frame: FrameType | None) -> None:
        # Only this: the signal may interrupt a line that is being written, and holds its lock.
        os.write(writing, b"\0")

    def switch() -> None:
        current = 0
        while os.read(reading, 1):
            current = 1 - current
            set_level(levels[current])
            log.always("log_level_changed", new_level=levels[current])

    threading.Thread(target=switch, name="log-level", daemon=True).start()
    signal.signal(signal.SIGUSR1, note)
