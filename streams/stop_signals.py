"""The signals that ask a process to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def ignore_stops() -> None:
    """Let a further SIGTERM or SIGINT change nothing, also not the exit code.

    For a process that ends by itself within a bound. Only in its main thread.
    """
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """The event that SIGTERM or SIGINT sets inside the block."""
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stopping.set)
    try:
        yield stopping
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
