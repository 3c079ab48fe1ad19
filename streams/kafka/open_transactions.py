"""Finds transactions that stay open: records behind them cannot be read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streams.kafka.positions import Place

_HANGS_AFTER_S = 60.0
_SAY_AGAIN_S = 600.0


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """A partition that is read only up to a transaction that has not ended."""

    topic: str
    partition: int
    at: int
    """The last stable offset: the transaction begins here, and reading stops."""
    records: int
    """How many offsets are held back, including those of the transaction."""
    since_s: float
    """How long the last stable offset has not moved, in seconds."""


class OpenTransactions:
    """Finds transactions that have been open for a minute or more."""

    def __init__(self) -> None:
        self._since: dict[Place, tuple[int, float]] = {}
        self._said: dict[Place, float] = {}

    def look(self, now_s: float, ends: Mapping[Place, tuple[int, int]]) -> list[OpenTransaction]:
        """Compare with the last look; return the transactions to be logged now.

        Each one is returned when it has been open for a minute, and then every ten minutes.

        Args:
            now_s: monotonic.
            ends: by partition, the last stable offset and the offset of the next record.
        """
        found = []
        for place, (stable, end) in ends.items():
            if stable >= end:
                self._since.pop(place, None)
                self._said.pop(place, None)
                continue
            at, since_s = self._since.get(place, (stable, now_s))
            if at != stable:
                since_s = now_s
                self._said.pop(place, None)
            self._since[place] = (stable, since_s)
            due_s = self._said.get(place, since_s + _HANGS_AFTER_S)
            if now_s >= due_s:
                self._said[place] = now_s + _SAY_AGAIN_S
                found.append(OpenTransaction(*place, stable, end - stable, now_s - since_s))
        return found
