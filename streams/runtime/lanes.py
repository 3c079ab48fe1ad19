"""Which of the waiting deliveries is begun next, when several lanes share one pool. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

Ready = Callable[[str, int], bool]
"""Whether an item of this lane and partition may be begun now."""


class Lanes(Generic[T]):
    """Hands out slots to lanes by weight, and to the partitions of a lane in turn.

    Work-conserving: while an item is ready and a slot is free, one is given out. Where all
    lanes wait, each gets its weight's share of the starts; a lane that was empty has saved
    nothing. The last free slot is kept for the first lane, so that an urgent item never
    waits for a call to end (with a single slot there is nothing to keep).

    Nothing waits for ever: every lane that waits gets its share, and one whose item has
    waited for ``patience_s`` weighs as much as the first lane. Items of one partition of a
    lane leave in the order in which they came.

    Source: Waldspurger and Weihl, "Stride Scheduling", MIT/LCS/TM-528, 1995.

    Args:
        weights: of each lane, above 0; the most urgent lane first.
        slots: the size of the pool.
        patience_s: see above.
    """

    def __init__(self, weights: Mapping[str, int], *, slots: int, patience_s: float) -> None:
        self._lanes = {name: _Lane[T](weight) for name, weight in weights.items()}
        self._first = next(iter(self._lanes.values()))
        self._reserved = 1 if slots > 1 else 0
        self._patience_s = patience_s
        self._now = 0.0
        """The pass of the lane that was served last: virtual time."""

    def __len__(self) -> int:
        return sum(lane.size for lane in self._lanes.values())

    def waiting(self, lane: str) -> int:
        """How many items wait in a lane."""
        return self._lanes[lane].size

    def put(self, lane: str, partition: int, item: T, now_s: float) -> None:
        """Let an item wait.

        Raises:
            KeyError: the lane does not exist.
        """
        found = self._lanes[lane]
        if not found.size:
            found.passed = max(found.passed, self._now)
        found.put(partition, item, now_s)

    def take(self, *, free: int, now_s: float, ready: Ready) -> T | None:
        """Take the item that is begun next; None if no slot is free or no item is ready.

        Args:
            free: the slots that are free now.
            now_s: on the clock of :meth:`put`.
            ready: asked for each partition that waits.
        """
        if free <= 0:
            return None
        chosen: _Lane[T] | None = None
        for name, lane in self._lanes.items():
            if free <= self._reserved and lane is not self._first:
                break
            if not lane.turn(name, ready):
                # A lane that cannot use its turn must not save it up.
                lane.passed = max(lane.passed, self._now)
            elif chosen is None or lane.passed < chosen.passed:
                chosen = lane
        return None if chosen is None else self._serve(chosen, now_s)

    def clear(self) -> list[T]:
        """Forget all items; return them."""
        return [item for lane in self._lanes.values() for item in lane.clear()]

    def _serve(self, lane: _Lane[T], now_s: float) -> T:
        item, since_s = lane.pop()
        impatient = now_s - since_s >= self._patience_s
        self._now = lane.passed
        lane.passed += 1 / (self._first.weight if impatient else lane.weight)
        return item


@dataclass(slots=True)
class _Lane(Generic[T]):
    weight: int
    passed: float = 0.0
    """Grows by ``1 / weight`` with each start; the lane with the least is next."""
    size: int = 0
    partitions: OrderedDict[int, deque[tuple[T, float]]] = field(default_factory=OrderedDict)
    """What waits, by partition; the partition whose turn it is comes first."""

    def put(self, partition: int, item: T, now_s: float) -> None:
        self.partitions.setdefault(partition, deque()).append((item, now_s))
        self.size += 1

    def turn(self, name: str, ready: Ready) -> bool:
        """Move the next ready partition to the front; False if no partition is ready."""
        for partition in self.partitions:
            if ready(name, partition):
                self.partitions.move_to_end(partition, last=False)
                return True
        return False

    def pop(self) -> tuple[T, float]:
        partition, waiting = next(iter(self.partitions.items()))
        taken = waiting.popleft()
        self.size -= 1
        if waiting:
            self.partitions.move_to_end(partition)
        else:
            del self.partitions[partition]
        return taken

    def clear(self) -> list[T]:
        items = [item for waiting in self.partitions.values() for item, _ in waiting]
        self.partitions.clear()
        self.size = 0
        return items
