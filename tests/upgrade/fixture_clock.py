"""Lets the processes of ``make_fixtures.py`` live in the past: only a task that ended long ago is
forgotten. Imported by the fork server before anything of the product, so that a later ``from time
import time_ns`` finds these functions, too.
"""

import os
import sys
import time

BEHIND = "FIXTURE_CLOCK_BEHIND_S"

_time, _time_ns = time.time, time.time_ns


def _late_time() -> float:
    return _time() - _behind_s()


def _late_time_ns() -> int:
    return _time_ns() - _behind_s() * 1_000_000_000


def _behind_s() -> int:
    # gRPC makes deadlines of this clock and compares them with the machine's. Its compiled
    # functions have no frame: their caller is gRPC's Python, or the event loop.
    caller = str(sys._getframe(2).f_globals.get("__name__"))
    return 0 if caller.startswith(("grpc", "asyncio")) else int(os.environ.get(BEHIND, "0"))


time.time, time.time_ns = _late_time, _late_time_ns
