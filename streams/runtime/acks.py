"""Which offsets may be acknowledged when work finishes out of order. Pure."""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class OrderedAcks(Generic[T]):
    """Holds items in the order in which they came, and releases them in that order.

    An item is released when it and all before it are finished. So an acknowledgement never
    passes an unfinished record, and after a kill that record is delivered again.
    """

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._finished: set[int] = set()

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: T) -> None:
        """Take the next item, in order."""
        self._items.append(item)

    def finish(self, item: T) -> list[T]:
        """Mark an item as finished (once), and return what is released by that, in order."""
        self._finished.add(id(item))
        released = []
        while self._items and id(self._items[0]) in self._finished:
            first = self._items.popleft()
            self._finished.discard(id(first))
            released.append(first)
        return released

    def clear(self) -> list[T]:
        """Remove and return all items that were not released, in order."""
        left = list(self._items)
        self._items.clear()
        self._finished.clear()
        return left
