"""What waits for the handler of one partition: bounded, and given away in batches."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """A delivery, as far as an inbox knows it."""

    @property
    def topic(self) -> str:
        """Where it was read."""


T = TypeVar("T", bound=Waiting)

BATCH_MAX = 500
"""Deliveries in one batch. Bounds how long one batch keeps the event loop to itself."""
INBOX_MAX = 2_000
"""Deliveries that wait for one partition; beyond that reading stops, and partitions pause."""
_SHARE_OF_LAST = BATCH_MAX // 10
"""What is left of a batch for the topic that comes last: it is slowed down, never stopped."""


class Inbox(Generic[T]):
    """Deliveries of one partition, in the order of their offsets within each topic.

    Those of the topic ``last`` are given away when few others wait. An owner so goes on with
    the tasks that it has before it begins new ones: of a backlog of a million only those
    that are under way are in memory, and the first are done soon.
    """

    def __init__(self, last: str | None = None) -> None:
        self.closed = False
        self._last = last
        self._first: deque[T] = deque()
        self._later: deque[T] = deque()
        self._filled = asyncio.Event()
        self._taken = asyncio.Event()
        self._closing = asyncio.Event()

    @property
    def enough_of_last(self) -> bool:
        """True while a whole batch of the topic that comes last waits: read no more of it."""
        return len(self._later) >= BATCH_MAX

    def put(self, delivery: T, *, force: bool = False) -> bool:
        """Let a delivery wait; False if there is no room, and it does not."""
        if self._size >= INBOX_MAX and not force:
            return False
        (self._later if delivery.topic == self._last else self._first).append(delivery)
        self._filled.set()
        return True

    async def wait_for_room(self) -> None:
        """Until there is room, or the inbox is closed."""
        while self._size >= INBOX_MAX and not self.closed:
            self._taken.clear()
            await self._taken.wait()

    async def take(self, timeout_s: float | None) -> list[T]:
        """What waits, at most a batch; empty after ``timeout_s`` or when the inbox was closed."""
        if not self._size and not self.closed:
            self._filled.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._filled.wait()
            except TimeoutError:
                return []
        taken = _taken(self._first, BATCH_MAX - min(len(self._later), _SHARE_OF_LAST))
        taken += _taken(self._later, BATCH_MAX - len(taken))
        self._taken.set()
        return taken

    async def wait_closed(self, timeout_s: float) -> None:
        """Until it is closed, at most so long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._closing.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        """Wake everybody up; nothing more is given away."""
        self.closed = True
        self._closing.set()
        self._filled.set()
        self._taken.set()

    @property
    def _size(self) -> int:
        return len(self._first) + len(self._later)


def _taken(waiting: deque[T], at_most: int) -> list[T]:
    return [waiting.popleft() for _ in range(min(len(waiting), at_most))]
