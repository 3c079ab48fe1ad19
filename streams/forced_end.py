"""Ends a process that cannot end by itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import structlog

log = structlog.get_logger()

_ACTS_S = 1.0
"""Time for what is done before the end; a disk may hang, too."""
_acts: list[Callable[[], None]] = []


@contextmanager
def before_forced_end(act: Callable[[], None]) -> Iterator[None]:
    """Also call ``act`` if the process is ended by force inside the block.

    It runs in a thread, has a second, and may raise.
    """
    _acts.append(act)
    try:
        yield
    finally:
        _acts.remove(act)


def exit_after(bound_s: float, *, code: int = 1) -> threading.Timer:
    """End the process if it still runs then; a thread, because the event loop may hang.

    Args:
        bound_s: seconds from now; cancel the timer when the process ends by itself.
        code: the exit code.
    """

    def end() -> None:
        log.error("exit_forced", after_s=bound_s)
        acting = threading.Thread(target=_act, daemon=True)
        acting.start()
        acting.join(_ACTS_S)
        os._exit(code)

    timer = threading.Timer(bound_s, end)
    timer.daemon = True
    timer.start()
    return timer


def _act() -> None:
    for act in reversed(_acts):
        with suppress(Exception):
            act()
