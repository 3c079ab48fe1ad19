"""How far the inputs of a partition were read. Pure."""

from collections.abc import Iterable, Mapping


class InputProgress:
    """Positions of the input topics, and the ends that they had at the takeover.

    Until those ends are reached timers must not decide: what lies before them may say that
    a task ended long before its deadline.
    """

    def __init__(self, starts: Mapping[str, int], ends: Mapping[str, int]) -> None:
        self._next = {topic: starts.get(topic, 0) for topic in ends}
        self._ends = {topic: end for topic, end in ends.items() if self._next[topic] < end}
        self._looked = dict(self._next)

    def read(self, topic: str, offset: int) -> None:
        """Note that a record was taken."""
        self.read_to(topic, offset + 1)

    def read_to(self, topic: str, end: int) -> None:
        """Note that there is nothing to take below ``end`` any more."""
        self._next[topic] = max(self._next.get(topic, 0), end)
        if self._next[topic] >= self._ends.get(topic, 0):
            self._ends.pop(topic, None)

    def next_of(self, topic: str) -> int:
        """The offset of the next record to be taken."""
        return self._next.get(topic, 0)

    def stood_still(self, topics: Iterable[str]) -> list[str]:
        """Those of the topics of which nothing was read since this was asked last."""
        still = [t for t in topics if self.next_of(t) == self._looked.get(t, 0)]
        self._looked = dict(self._next)
        return still

    @property
    def behind(self) -> Mapping[str, int]:
        """The topics that were not yet read up to the takeover, and their ends."""
        return self._ends
