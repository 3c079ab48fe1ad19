"""A subscription to the changes of one task."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from schemas.records import StreamChunk


class Subscription:
    """Is woken when the task changes, and keeps chunks until its reader takes them.

    Events are not kept here: a reader finds them in the task, so a slow reader misses no event.
    """

    def __init__(self, chunks_max: int, on_close: Callable[[Subscription], None]) -> None:
        self._chunks: deque[StreamChunk] = deque()
        self._chunks_max = chunks_max
        self._left_out = 0
        self._changed = False
        self._woken = asyncio.Event()
        self._on_close = on_close

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self._on_close(self)

    def wake(self) -> None:
        """Note that the task changed."""
        self._changed = True
        self._woken.set()

    def push(self, chunk: StreamChunk) -> None:
        """Keep a chunk, or count it if too many wait."""
        if len(self._chunks) < self._chunks_max:
            self._chunks.append(chunk)
        else:
            self._left_out += 1
        self._woken.set()

    def take(self) -> tuple[list[StreamChunk], int]:
        """The chunks since the last call, and how many were dropped after them."""
        chunks, left_out = list(self._chunks), self._left_out
        self._chunks.clear()
        self._left_out = 0
        return chunks, left_out

    def changed(self) -> bool:
        """Whether the task changed since the last call; not if there were only chunks."""
        changed, self._changed = self._changed, False
        return changed

    async def wait(self, timeout_s: float) -> bool:
        """Wait for a change, or a chunk, since the last wait; False after ``timeout_s`` without."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True
