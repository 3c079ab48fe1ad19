"""The time of this machine, as records have it."""

import time

from schemas.records import Millis


def now_ms() -> Millis:
    """Unix milliseconds, UTC. May jump when the clock is set."""
    return Millis(time.time_ns() // 1_000_000)
