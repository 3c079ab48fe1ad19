"""What a module logs, whatever another test has set up for the process."""

import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pytest
import structlog

Line = MutableMapping[str, Any]


@contextmanager
def logged(*loggers: str) -> Iterator[list[Line]]:
    """The lines of these loggers (``module.name``) while the block runs, with ``log_level``."""
    capture = structlog.testing.LogCapture()
    catching = structlog.wrap_logger(
        None,
        processors=[capture],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        cache_logger_on_first_use=False,
    )
    with pytest.MonkeyPatch.context() as patch:
        for logger in loggers:
            module, _, name = logger.rpartition(".")
            patch.setattr(import_module(module), name, catching)
        yield capture.entries
