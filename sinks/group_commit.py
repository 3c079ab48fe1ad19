"""Groups writes: items that arrive during a write are written together in the next one.

So the busier the store is, the fewer and larger the writes are, and no item waits for a timer.
The caller provides the function that writes.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sinks.errors import SinkLockedError, SinkUnavailableError

Item = TypeVar("Item")


@dataclass(eq=False, slots=True)
class _Waiting(Generic[Item]):
    item: Item
    size: int
    outcome: asyncio.Future[None]
    """Done before the write only if the caller was cancelled."""


class GroupCommit(Generic[Item]):
    """Lets callers share the writes of one store, one write at a time.

    ``write`` writes items all or nothing. It runs in a task of its own, which is cancelled only
    when all its callers are. If the store is down, all callers get the error of ``write``; any
    other error may be the fault of one item, so each item is then written by itself.
    """

    def __init__(
        self, write: Callable[[Sequence[Item]], Coroutine[None, None, None]], *, size_max: int
    ) -> None:
        """``size_max`` limits the size of a group, but one item alone may be larger."""
        self._write = write
        self._size_max = size_max
        self._queue: deque[_Waiting[Item]] = deque()
        self._running: asyncio.Task[None] | None = None
        # The items that are being written, and the task that writes them.
        self._group: Sequence[_Waiting[Item]] = ()
        self._writing: asyncio.Task[None] | None = None

    async def write(self, item: Item, *, size: int) -> None:
        """Write an item, together with the other waiting items when its turn comes.

        Raises what ``write`` raises.

        Cancellation: a waiting item is taken out. If other callers share the running write, that
        write goes on and this method waits for it; otherwise the write is cancelled, too. So when
        this method has returned, no write of the item is running.
        """
        waiting = _Waiting(item, size, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="group-commit")
        try:
            await waiting.outcome
        except asyncio.CancelledError:
            if waiting in self._group:
                await self._leave()
            raise

    async def ended(self) -> None:
        """Return when no write runs and no item waits."""
        if self._running is not None:
            await asyncio.wait([self._running])

    async def _leave(self) -> None:
        assert self._writing is not None
        if all(waiting.outcome.done() for waiting in self._group):
            self._writing.cancel()
        await asyncio.wait([self._writing])

    async def _run(self) -> None:
        while group := self._take():
            await self._write_group(group)
        self._running = None

    def _take(self) -> list[_Waiting[Item]]:
        group: list[_Waiting[Item]] = []
        size = 0
        while self._queue:
            waiting = self._queue[0]
            if not waiting.outcome.done():
                size += waiting.size
                if group and size > self._size_max:
                    break
                group.append(waiting)
            self._queue.popleft()
        return group

    async def _write_group(self, group: Sequence[_Waiting[Item]]) -> None:
        items = [waiting.item for waiting in group]
        self._group = group
        self._writing = asyncio.create_task(self._write(items), name="group-commit-write")
        await asyncio.wait([self._writing])
        self._group = ()
        # Cancelled only when no caller is left.
        error = None if self._writing.cancelled() else self._writing.exception()
        if error is not None and len(group) > 1 and not _concerns_all(error):
            await self._write_each(group)
            return
        for waiting in group:
            if waiting.outcome.done():
                continue
            if error is None:
                waiting.outcome.set_result(None)
            else:
                waiting.outcome.set_exception(error)

    async def _write_each(self, group: Sequence[_Waiting[Item]]) -> None:
        for waiting in group:
            if not waiting.outcome.done():
                await self._write_group([waiting])


def _concerns_all(error: BaseException) -> bool:
    return isinstance(error, SinkUnavailableError) and not isinstance(error, SinkLockedError)
