"""How far consumer groups are behind, in records and in time. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping

from streams.kafka.positions import Place

_SAMPLES = 240


class LagAges:
    """How long the oldest unread record of a partition has waited, from its ends over time.

    A record below an end that was seen at some time has been there since then. So no record has to
    be read, and a partition without a consumer has an age, too. The age is too small by at most the
    interval between two looks. It counts from the first look, and reaches back over the last 240
    looks that saw the partition grow: an hour, if it always grows and is looked at every 15 s.
    """

    def __init__(self) -> None:
        self._ends: defaultdict[Place, deque[tuple[float, int]]] = defaultdict(
            lambda: deque(maxlen=_SAMPLES)
        )

    def look(self, now_s: float, ends: Mapping[Place, int]) -> None:
        """Note the ends of partitions; a partition that does not grow needs no further sample."""
        for place, end in ends.items():
            seen = self._ends[place]
            if seen and end < seen[-1][1]:
                # The topic was made again.
                seen.clear()
            if not seen or end > seen[-1][1]:
                seen.append((now_s, end))

    def age_s(self, now_s: float, place: Place, position: int) -> float:
        """Seconds since the record at ``position`` was seen first; 0 if there is none."""
        for seen_s, end in self._ends[place]:
            if end > position:
                return max(0.0, now_s - seen_s)
        return 0.0
