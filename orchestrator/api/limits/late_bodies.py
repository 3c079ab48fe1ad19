"""Spaces out the reading of bodies that were answered before they had arrived. Pure.

Many clients send a body whole before they read its answer. So a refusal costs a caller nothing,
and reading on as fast as the bytes come would cost this process more than the refused call.
"""

from __future__ import annotations


class LateBodies:
    """The bodies of all connections of one server; together they arrive at one rate.

    Args:
        bytes_per_s: the rate.
    """

    def __init__(self, bytes_per_s: int) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at = 0.0

    def pause_s(self, size: int, now_s: float) -> float:
        """The seconds for which a connection is not read, after ``size`` bytes of such a body.

        Args:
            size: bytes.
            now_s: seconds of any one monotonic clock.
        """
        self._free_at = max(self._free_at, now_s) + size / self._bytes_per_s
        return self._free_at - now_s
