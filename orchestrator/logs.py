"""Logs of a process."""

import io
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO, cast

import structlog

from orchestrator.log_level import LevelledLogger, set_level
from schemas.printable import printable
from streams.log_context import log_fields

_LEVELS = ("debug", "info", "warning", "error")
_FORMATS = ("json", "console")


class _StandardError(io.TextIOBase):
    """The current ``sys.stderr`` at each write, also after it was replaced."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


# Has every method of TextIO that loggers use.
_STDERR = cast(TextIO, _StandardError())


class OftenRepeated(logging.Filter):
    """Passes a log statement of a library once a minute, with the number of suppressed lines.

    While a broker is down, each client logs an error ten times a second.
    """

    def __init__(self, *, every_s: float = 60.0, clock: Callable[[], float] = time.monotonic):
        super().__init__()
        self._every_s = every_s
        self._clock = clock
        self._said: dict[tuple[str, int], tuple[float, int]] = {}
        """By statement: the time of its last line, and the number of suppressed lines since."""

    def filter(self, record: logging.LogRecord) -> bool:
        """True to pass the line, which then includes the number of suppressed ones."""
        statement, now_s = (record.pathname, record.lineno), self._clock()
        said_s, held_back = self._said.get(statement, (-self._every_s, 0))
        if now_s - said_s < self._every_s:
            self._said[statement] = (said_s, held_back + 1)
            return False
        self._said[statement] = (now_s, 0)
        if held_back:
            record.msg = f"{record.getMessage()} ({held_back} more like this)"
            record.args = ()
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """``ORCH_LOG_<FIELD>``."""

    level: str = "info"
    """``debug``, ``info``, ``warning`` or ``error``."""

    format: str = "json"
    """``json``: one object a line. ``console``: lines for people."""

    def __post_init__(self) -> None:
        if self.level not in _LEVELS:
            raise ValueError(f"level is {self.level!r}; it must be one of {', '.join(_LEVELS)}")
        if self.format not in _FORMATS:
            raise ValueError(f"format is {self.format!r}; it must be one of {', '.join(_FORMATS)}")


def set_up_logs(settings: LogSettings, *, role: str) -> None:
    """Log to standard error, one line for each outcome; libraries only from WARNING on.

    A line of the work on one record names its task, step and attempt, and its trace and span.
    """
    set_level(settings.level)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _WithContext(role),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer = _as_json if settings.format == "json" else _as_text
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=LevelledLogger,
        logger_factory=structlog.PrintLoggerFactory(_STDERR),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(_STDERR)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # Faust and aiokafka log internal details at INFO; what an operator can use is above that.
    for name in ("faust", "mode", "aiokafka"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # While Postgres is down, its pool logs tracebacks; our own code logs the failures.
    logging.getLogger("asyncpg").setLevel(logging.ERROR)
    # It quotes headers of records, which strangers write.
    logging.getLogger("opentelemetry.trace.span").setLevel(logging.ERROR)
    handler.addFilter(OftenRepeated())


class _WithContext:
    """Adds the role of the process, and what the line's work is about. What a line says itself
    stays."""

    def __init__(self, role: str) -> None:
        self._role = role

    def __call__(
        self, logger: Any, name: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event.setdefault("role", self._role)
        for field, value in log_fields().items():
            event.setdefault(field, value)
        return event


_JSON = structlog.processors.JSONRenderer()
_TEXT = structlog.dev.ConsoleRenderer(colors=False)


def _as_json(logger: Any, name: str, event: structlog.typing.EventDict) -> str:
    # Of what is not printable, JSON alone leaves DEL as it is.
    return str(_JSON(logger, name, event)).replace("\x7f", "\\u007f")


def _as_text(logger: Any, name: str, event: structlog.typing.EventDict) -> str:
    return printable(_TEXT(logger, name, event))
