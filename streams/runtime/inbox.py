"""The deliveries that wait for the handler of one partition: bounded, taken in batches."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, Protocol, TypeVar


class Queued(Protocol):
    """The part of a delivery that an inbox needs."""

    @property
    def topic(self) -> str:
        """The topic of the record."""

    @property
    def size(self) -> int:
        """Size of the value, in bytes."""


T = TypeVar("T", bound=Queued)

BATCH_MAX = 500
"""Deliveries in one batch. Limits how long one batch occupies the event loop."""
BATCH_MAX_BYTES = 16 * 1024 * 1024
"""Sum of their values. A single one may be larger, and one of the last topic always fits."""
INBOX_MAX = 2_000
"""Deliveries that wait for one partition; above this number reading stops and partitions pause."""
_SHARE_OF_LAST = 10
"""A tenth of a batch is reserved for the topic that comes last: it is slowed down, never
stopped."""


class Inbox(Generic[T]):
    """Deliveries of one partition, in the order of their offsets within each topic.

    Deliveries of the topic ``last`` are taken when few others wait. So an owner finishes the
    tasks that it has before it begins new ones: only the running tasks of a backlog of a million
    are in memory, and the first tasks are done soon.
    """

    def __init__(self, last: str | None = None, *, batch_max: int = BATCH_MAX) -> None:
        self.closed = False
        self._overfull = False
        self._last = last
        self._batch_max = batch_max
        self._first: deque[T] = deque()
        self._later: deque[T] = deque()
        self._filled = asyncio.Event()
        self._taken = asyncio.Event()
        self._closing = asyncio.Event()

    @property
    def enough_of_last(self) -> bool:
        """True while a whole batch of the last topic waits: pause reading that topic."""
        return len(self._later) >= self._batch_max

    def put(self, delivery: T, *, force: bool = False) -> bool:
        """Add a delivery; return False, and do not add it, if the inbox is full."""
        if self._size >= INBOX_MAX and not force:
            return False
        (self._later if delivery.topic == self._last else self._first).append(delivery)
        self._filled.set()
        return True

    async def wait_for_room(self) -> None:
        """Wait until there is room, or the inbox is closed."""
        self._overfull = False
        while self._size >= INBOX_MAX and not self.closed and not self._overfull:
            self._taken.clear()
            await self._taken.wait()

    def make_room(self) -> None:
        """Let a reader that waits for room go on: its deliveries are added anyway."""
        self._overfull = True
        self._taken.set()

    async def take(self, timeout_s: float | None) -> list[T]:
        """The next batch; empty after ``timeout_s`` or when the inbox was closed."""
        if not self._size and not self.closed:
            self._filled.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._filled.wait()
            except TimeoutError:
                return []
        kept = min(len(self._later), self._batch_max // _SHARE_OF_LAST)
        taken = _taken(self._first, self._batch_max - kept, BATCH_MAX_BYTES)
        if self._later:
            left = BATCH_MAX_BYTES - sum(delivery.size for delivery in taken)
            taken += _taken(self._later, self._batch_max - len(taken), left)
        self._taken.set()
        return taken

    async def wait_closed(self, timeout_s: float) -> None:
        """Wait until the inbox is closed, at most ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._closing.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        """Wake all waiting coroutines; the inbox gives out nothing more."""
        self.closed = True
        self._closing.set()
        self._filled.set()
        self._taken.set()

    @property
    def _size(self) -> int:
        return len(self._first) + len(self._later)


def _taken(waiting: deque[T], at_most: int, max_bytes: int) -> list[T]:
    taken: list[T] = []
    while waiting and len(taken) < at_most:
        max_bytes -= waiting[0].size
        if max_bytes < 0 and taken:
            break
        taken.append(waiting.popleft())
    return taken
