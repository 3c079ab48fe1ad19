"""Waits for what an operator or a broker has to bring back, and says so without flooding."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog

from schemas.errors import OrchestratorError
from streams.errors import PublishRefusedError
from streams.publisher import Outgoing, Publisher

log = structlog.get_logger()

_PAUSE_MIN_S = 0.2
_PAUSE_MAX_S = 5.0
_SAY_AGAIN_S = 60.0


class Patience:
    """The pauses between tries at one thing: they double, up to a bound.

    The reason is logged when the waiting begins, when it changes, and then once a minute; the end
    of the waiting is logged, too.

    Args:
        what: the name of the thing, for the log: a short constant.
        fields: what else each line says, such as a role or a partition.
    """

    def __init__(self, what: str, **fields: object) -> None:
        self._what = what
        self._fields = fields
        self._pause_s = _PAUSE_MIN_S
        self._since_s: float | None = None
        self._said: tuple[str, float] = ("", 0.0)

    async def pause(
        self,
        error: OrchestratorError,
        *,
        until: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Wait until the next try; cancel it to give up.

        Args:
            error: why the last try failed.
            until: waits at most so many seconds.
        """
        now_s = time.monotonic()
        if self._since_s is None:
            self._since_s = now_s
        said, at_s = self._said
        if said != error.code or now_s - at_s >= _SAY_AGAIN_S:
            self._said = (error.code, now_s)
            log.warning(
                "waiting",
                what=self._what,
                code=error.code,
                reason=str(error)[:300],
                waited_s=round(now_s - self._since_s),
                **self._fields,
            )
        await until(self._pause_s)
        self._pause_s = min(_PAUSE_MAX_S, 2 * self._pause_s)

    def over(self) -> None:
        """It worked: say so if it was waited for, and begin with short pauses again."""
        if self._since_s is not None:
            waited_s = round(time.monotonic() - self._since_s, 1)
            log.info("waiting_over", what=self._what, waited_s=waited_s, **self._fields)
        self._since_s, self._pause_s, self._said = None, _PAUSE_MIN_S, ("", 0.0)


async def publish_patiently(publisher: Publisher, records: Sequence[Outgoing]) -> list[int]:
    """Publish records; while the broker refuses them, wait and try again. Unbounded: cancel it.

    For records whose loss would be worse than a partition that stands still: an operator gives
    the right or changes the policy, and everything goes on. Records that were written before a
    refusal are written again, so their readers must know them by their keys.

    Returns and raises as :meth:`~streams.publisher.Publisher.publish`, but for the refusal.
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
