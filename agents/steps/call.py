"""One call of a service, which can be stopped from outside."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from agents.services.client import OnChunk, StepClient, StepRequest, StepResponse
from schemas.records import Control

# The client enforces its own timeout; this one applies if the client does not. A cancelled
# call gets the same time to end, and is then abandoned.
_GRACE_S = 1.0
_CONNECT_S = 5.0
"""The clock of an attempt starts when the request is sent; a client may connect before that."""
_SLICE_S = 1.0


class StoppedError(Exception):
    """A control record stopped the call, or came before it."""

    def __init__(self, control: Control) -> None:
        super().__init__(control.kind)
        self.control = control


class LeakedCancelError(Exception):
    """The client was cancelled, but not by us."""


class StepCall:
    """Calls a service at most once.

    The call is an asyncio task of its own, and no coroutine awaits it directly. So its
    cancellation, whatever its cause, never looks like a cancellation of the caller.
    """

    def __init__(self) -> None:
        self._stopped_by: Control | None = None
        self._task: asyncio.Task[StepResponse] | None = None

    @property
    def called(self) -> bool:
        """True once the service was called."""
        return self._task is not None

    def stop(self, control: Control) -> None:
        """Abort the call, or prevent it. The call may have ended before."""
        self._stopped_by = control
        if self._task is not None:
            self._task.cancel()

    async def run(
        self,
        client: StepClient,
        request: StepRequest,
        *,
        slow_after_s: float,
        slow: Callable[[], Awaitable[None]],
        on_chunk: OnChunk | None = None,
    ) -> StepResponse:
        """Make the call.

        Args:
            client: the client of the service.
            request: its ``timeout_s`` limits the call.
            slow_after_s: if the call still runs after this time, ``slow`` is awaited, once.
            slow: may raise; the call is aborted then.
            on_chunk: gets the answer while it grows, if the service can stream.

        Raises:
            ServiceError: the call failed.
            StoppedError: the call was stopped before it had an answer.
            TimeoutError: the call does not end.
            LeakedCancelError: a bug of the client.
        """
        if self._stopped_by is not None:
            raise StoppedError(self._stopped_by)
        task = self._task = asyncio.create_task(client.call(request, on_chunk=on_chunk))
        try:
            await asyncio.wait({task}, timeout=slow_after_s)
            if not task.done():
                await slow()
                await _wait(task, request.timeout_s + _CONNECT_S + _GRACE_S)
        finally:
            await _end(task)
        return self._outcome(task)

    def _outcome(self, task: asyncio.Task[StepResponse]) -> StepResponse:
        if task.done() and not task.cancelled():
            return task.result()
        if self._stopped_by is not None:
            raise StoppedError(self._stopped_by)
        if task.done() and not _we_cancelled(task):
            raise LeakedCancelError
        raise TimeoutError


async def _wait(task: asyncio.Task[StepResponse], timeout_s: float) -> None:
    """Wait for a call, in slices.

    A process that was suspended loses one slice and not the whole time: the client gets its
    turn to read an answer that came meanwhile.
    """
    for _ in range(math.ceil(timeout_s / _SLICE_S)):
        if task.done():
            return
        await asyncio.wait({task}, timeout=_SLICE_S)


async def _end(task: asyncio.Task[StepResponse]) -> None:
    """Cancel a call that still runs, and give it a moment to abort."""
    if task.done():
        return
    task.cancel()
    await asyncio.wait({task}, timeout=_GRACE_S)
    if task.done() and not task.cancelled():
        task.exception()  # otherwise asyncio logs that the exception was never retrieved


def _we_cancelled(task: asyncio.Task[StepResponse]) -> bool:
    return task.cancelling() > 0
