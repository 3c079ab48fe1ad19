"""Logs and metrics of a process."""

import io
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO, cast

import structlog
from prometheus_client import start_http_server

_LEVELS = ("debug", "info", "warning", "error")
_FORMATS = ("json", "console")


class _StandardError(io.TextIOBase):
    """Whatever ``sys.stderr`` is when something is written, also after it was replaced."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


# A TextIO in all that loggers use of one.
_STDERR = cast(TextIO, _StandardError())


class OftenRepeated(logging.Filter):
    """Lets a statement of a library log once in a minute, and says how often it was held back.

    A broker that is away makes the clients complain ten times a second, each of them.
    """

    def __init__(self, *, every_s: float = 60.0, clock: Callable[[], float] = time.monotonic):
        super().__init__()
        self._every_s = every_s
        self._clock = clock
        self._said: dict[tuple[str, int], tuple[float, int]] = {}
        """By statement: when it was let through last, and how many were held back since."""

    def filter(self, record: logging.LogRecord) -> bool:
        """True to let the line through; it then says what was held back before it."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """``ORCH_METRICS_<FIELD>``."""

    port: int = 0
    """Where this process serves Prometheus metrics; 0: it serves none. Each process needs a
    port of its own."""

    host: str = "127.0.0.1"
    """The address that the metrics are served on."""


def set_up_logs(settings: LogSettings, *, role: str) -> None:
    """Log to standard error, one line an outcome; libraries only from WARNING on."""
    level = getattr(logging, settings.level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(_STDERR),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(role=role)
    handler = logging.StreamHandler(_STDERR)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # Faust and aiokafka log their inner life at INFO; what an operator can use is above it.
    for name in ("faust", "mode", "aiokafka"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Its pool complains of a Postgres that is away with tracebacks; whoever needs it says so.
    logging.getLogger("asyncpg").setLevel(logging.ERROR)
    handler.addFilter(OftenRepeated())


def serve_metrics(settings: MetricsSettings) -> None:
    """Serve this process's metrics, if a port is set."""
    if settings.port:
        start_http_server(settings.port, addr=settings.host)
