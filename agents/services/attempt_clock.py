"""Measures a service's time to answer, in a process that may itself be late."""

import asyncio
from collections.abc import Callable

from streams.cancellation import this_task_is_cancelled

_PASSES = 5
"""Turns of the event loop until a reader gets bytes that are in its socket when a timer fires.
asyncio reads before it runs timers, uvloop after them; grpc.aio needs two turns more."""

_GRACE_S = 0.05
"""gRPC reads in its own thread, which gets no CPU for a moment after the process was busy."""

_LATE_LOOKS_MAX = 100
"""Enough for the largest answer that can wait in a socket; one that never ends is given up."""


class AttemptClock:
    """Ends an attempt whose answer does not come in time.

    The clock starts when the request has been sent. When the time is over, the event loop first
    reads what the service has sent already: an answer that waits in a socket, because this
    process was busy, counts as an answer. The clock looks again as long as bytes come in
    this way, at most 100 times, and once more a moment later.

    Args:
        timeout_s: the time that the service has.
        heard: how much the service has sent; any number that grows with each piece.
        late: called once, if the answer has not come.
    """

    def __init__(
        self, timeout_s: float, *, heard: Callable[[], int], late: Callable[[], object]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._heard = heard
        self._late = late
        self._waited = False
        self._late_looks = 0
        self._next: asyncio.Handle = self._loop.call_later(timeout_s, self._over)

    def cancel(self) -> None:
        """Stop: the attempt has ended. Idempotent."""
        self._next.cancel()

    def _over(self) -> None:
        self._late_looks += 1
        self._look(self._heard(), _PASSES)

    def _look(self, heard_before: int, passes: int) -> None:
        if passes:
            self._next = self._loop.call_soon(self._look, heard_before, passes - 1)
        elif self._heard() > heard_before and self._late_looks < _LATE_LOOKS_MAX:
            self._waited = False
            self._over()
        elif not self._waited and self._late_looks < _LATE_LOOKS_MAX:
            self._waited = True
            self._next = self._loop.call_later(_GRACE_S, self._over)
        else:
            self._late()


class CallClock(AttemptClock):
    """An :class:`AttemptClock` that ends the attempt with a cancellation: ``with clock: await``.

    Args:
        timeout_s, heard: as above.
        late: cancels the awaited call.
    """

    def __init__(
        self, timeout_s: float, *, heard: Callable[[], int], late: Callable[[], object]
    ) -> None:
        super().__init__(timeout_s, heard=heard, late=self._cancel)
        self._cancel_call = late
        self._is_late = False

    def __enter__(self) -> None:
        """Do nothing: the clock runs already."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop the clock, and replace its cancellation by a TimeoutError.

        Raises:
            TimeoutError: this clock has cancelled, and the current task was not cancelled.
        """
        self.cancel()
        if kind is asyncio.CancelledError and self._is_late and not this_task_is_cancelled():
            raise TimeoutError from None

    def _cancel(self) -> None:
        self._is_late = True
        self._cancel_call()
