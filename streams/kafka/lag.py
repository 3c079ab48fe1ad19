"""How far consumer groups are behind, in records and in time. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping

from streams.kafka.positions import Place

_SAMPLES = 240


class LagAges:
    """How long the oldest unread record of a partition has waited, from its ends over time.

    A record below an end that was seen at some time has been there since then. So no record has to
    be read, and a partition without a consumer has an age, too. It counts from the first look.

    The age is too small by at most the interval between two looks, while the unread records came in
    240 looks or fewer. After that every second look is forgotten, so it is too small by more; the
    age of the first record that is unread since then stays exact.
    """

    def __init__(self) -> None:
        self._ends: defaultdict[Place, deque[tuple[float, int]]] = defaultdict(deque)

    def look(self, now_s: float, ends: Mapping[Place, int]) -> None:
        """Note the ends of partitions; a partition that does not grow needs no further sample."""
        for place, end in ends.items():
            seen = self._ends[place]
            if seen and end < seen[-1][1]:
                # The topic was made again.
                seen.clear()
            if not seen or end > seen[-1][1]:
                if len(seen) >= _SAMPLES:
                    seen = self._ends[place] = deque(list(seen)[::2])
                seen.append((now_s, end))

    def age_s(self, now_s: float, place: Place, position: int) -> float:
        """Seconds since the record at ``position`` was seen first; 0 if there is none."""
        seen = self._ends[place]
        while seen and seen[0][1] <= position and len(seen) > 1:
            # Read since: the next looks get its room.
            seen.popleft()
        return max(0.0, now_s - seen[0][0]) if seen and seen[0][1] > position else 0.0
