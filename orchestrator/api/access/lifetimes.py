"""Ends what a caller has open when the caller's right ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
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


async def until_over(items: AsyncIterator[T], over: Over) -> AsyncGenerator[T]:
    """Yield the items of a stream until the caller's right ends; then raise the reason.

    A wait for the next item is cut short.
    """
    while True:
        coming = asyncio.ensure_future(_next(items))
        try:
            await asyncio.wait((coming, over), return_when=asyncio.FIRST_COMPLETED)
            if over.done():
                if coming.done() and not coming.cancelled():
                    coming.exception()  # looked at, so that nobody reports it as lost
                raise over.result()
            item = coming.result()
        except StopAsyncIteration:
            return
        finally:
            if not coming.done():
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
        yield item


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)
