"""Ends what a caller has open when the caller's right ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from orchestrator.api.access.caller import Caller
from orchestrator.api.errors import ApiError

T = TypeVar("T")

_LOOK_EVERY_S = 1.0

Over = asyncio.Future[ApiError]
"""Done, with the reason, when the caller's right has ended."""


class Lifetimes:
    """Looks once a second, for all open streams together, whether their callers still may."""

    def __init__(self, ended: Callable[[Caller], ApiError | None]) -> None:
        self._ended = ended
        self._open: dict[Over, Caller] = {}
        self._looking: asyncio.Task[None] | None = None

    @contextmanager
    def watch(self, caller: Caller) -> Iterator[Over]:
        """Watch a caller while the block runs."""
        over: Over = asyncio.get_running_loop().create_future()
        self._open[over] = caller
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            yield over
        finally:
            del self._open[over]
            over.cancel()

    async def _look(self) -> None:
        while self._open:
            await asyncio.sleep(_LOOK_EVERY_S)
            for over, caller in self._open.items():
                if not over.done() and (error := self._ended(caller)) is not None:
                    over.set_result(error)


async def until_over(items: AsyncGenerator[T], over: Over) -> AsyncGenerator[T]:
    """Yield the items of a stream until the caller's right ends; then raise the reason.

    A wait for the next item is cut short.
    """
    waiting: asyncio.Task[object] | None = None
    cut = False

    def cut_short(_: Over) -> None:
        nonlocal cut
        # While its reader has an item, the task waits for something else.
        if waiting is not None:
            cut = True
            waiting.cancel()

    over.add_done_callback(cut_short)
    try:
        while not over.done():
            waiting = asyncio.current_task()
            try:
                item = await anext(items)
            except StopAsyncIteration:
                return
            except asyncio.CancelledError:
                # Not if the reader was cancelled, too: asked for once more, it is not ours.
                if cut and waiting is not None and not waiting.uncancel():
                    break
                raise
            finally:
                waiting = None
            yield item
        raise over.result()
    finally:
        over.remove_done_callback(cut_short)
