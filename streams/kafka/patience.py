"""Waits for an operator or a broker, and logs the wait without flooding the log."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import structlog

from schemas.errors import OrchestratorError
from streams.errors import KafkaRefusedError, KafkaUnavailableError, PublishRefusedError
from streams.kafka.publisher import Outgoing, Publisher

T = TypeVar("T")

log = structlog.get_logger()

_PAUSE_MIN_S = 0.2
_PAUSE_MAX_S = 5.0
_SAY_AGAIN_S = 60.0


class _Lines:
    """The log lines about waits in this process: many partitions may wait for one cause.

    The reason is logged when the first partition begins to wait for it, and then once a minute;
    the end is logged when no partition waits any more.
    """

    def __init__(self) -> None:
        self._waiting: Counter[str] = Counter()
        self._since_s: dict[str, float] = {}
        self._said_s: dict[tuple[str, str], float] = {}
        self._why: dict[str, str] = {}

    def why(self) -> str | None:
        """What waits, and the newest reason of each; None: nothing."""
        waits = [f"{what} waits: {why}" for what, why in list(self._why.items())]
        return "; ".join(waits) or None

    def begun(self, what: str) -> None:
        if not self._waiting[what]:
            self._since_s[what] = time.monotonic()
        self._waiting[what] += 1

    def say(self, what: str, error: OrchestratorError, fields: Mapping[str, object]) -> None:
        self._why[what] = f"{error.code}: {str(error)[:300]}"
        now_s, cause = time.monotonic(), (what, error.code)
        if now_s - self._said_s.get(cause, -_SAY_AGAIN_S) < _SAY_AGAIN_S:
            return
        self._said_s[cause] = now_s
        log.warning(
            "waiting",
            what=what,
            code=error.code,
            reason=str(error)[:300],
            waited_s=round(now_s - self._since_s[what]),
            waiting=self._waiting[what],
            **fields,
        )

    def over(self, what: str) -> None:
        self._waiting[what] -= 1
        if not self._waiting[what]:
            self._why.pop(what, None)
            waited_s = round(time.monotonic() - self._since_s.pop(what), 1)
            for cause in [cause for cause in self._said_s if cause[0] == what]:
                del self._said_s[cause]
            log.info("waiting_over", what=what, waited_s=waited_s)


_LINES = _Lines()


def waits() -> str | None:
    """What this process waits for at present, and why; None: for nothing."""
    return _LINES.why()


class Patience:
    """The pauses between tries of one operation: they double, up to a bound.

    Args:
        what: the name of the operation for the log: a short constant. The waits of a process
            with the same name share their lines.
        fields: further fields of the first line, such as a partition.
    """

    def __init__(self, what: str, **fields: object) -> None:
        self._what = what
        self._fields = fields
        self._pause_s = _PAUSE_MIN_S
        self._waits = False

    async def pause(
        self,
        error: OrchestratorError,
        *,
        until: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Wait until the next try; cancel it to give up.

        Args:
            error: why the last try failed.
            until: the latest end of the pause, in seconds.
        """
        if not self._waits:
            self._waits = True
            _LINES.begun(self._what)
        _LINES.say(self._what, error, self._fields)
        pause_s, self._pause_s = self._pause_s, min(_PAUSE_MAX_S, 2 * self._pause_s)
        try:
            await until(pause_s)
        except asyncio.CancelledError:
            self.over()
            raise

    def over(self) -> None:
        """Note that the operation worked or is given up; the next pauses are short again."""
        if self._waits:
            _LINES.over(self._what)
        self._waits, self._pause_s = False, _PAUSE_MIN_S


async def publish_patiently(publisher: Publisher, records: Sequence[Outgoing]) -> list[int]:
    """Publish records; while the broker refuses them, wait and try again. Unbounded: cancel it.

    For records whose loss would be worse than a partition that stands still: an operator grants
    the right or changes the policy, and everything goes on. Records that were written before a
    refusal are written again, so their readers must recognize them by their keys.

    Returns and raises as :meth:`~streams.kafka.publisher.Publisher.publish`, except for the
    refusal.
    """
    patience = Patience("publish", topic=records[0].topic if records else "")
    while True:
        try:
            offsets = await publisher.publish(records)
        except PublishRefusedError as error:
            await patience.pause(error)
        else:
            patience.over()
            return offsets


async def when_there(
    what: str, attempt: Callable[[], Awaitable[T]], *, refusals_wait: bool = True
) -> T:
    """Run an operation that needs the broker; while it is down, wait and try again. Unbounded.

    Args:
        what: see :class:`Patience`.
        attempt: must leave nothing open when it raises.
        refusals_wait: False at the start of a process, which a wrong password should end.

    Raises:
        KafkaRefusedError: only without ``refusals_wait``; an operator has to act.
    """
    patience = Patience(what)
    while True:
        try:
            found = await attempt()
        except KafkaUnavailableError as error:
            if isinstance(error, KafkaRefusedError) and not refusals_wait:
                patience.over()
                raise
            await patience.pause(error)
        else:
            patience.over()
            return found
