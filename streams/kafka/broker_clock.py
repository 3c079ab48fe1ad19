"""Measures how far this machine's clock, which decides deadlines, is from the broker's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from streams.clock import now_ms
from streams.kafka.publisher import Outgoing, Publisher

_MEASURE_EVERY_MS = 60_000
_MEASURE_S = 5.0
_PROBE_KEY = b"/clock"
"""A task's id cannot contain a slash. Without our headers every reader ignores the record."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A difference, and the clocks when it was measured. Pure."""

    difference_ms: int
    """Our clock minus the broker's."""
    wall_ms: int
    monotonic_ms: int

    def now(self, wall_ms: int, monotonic_ms: int) -> int:
        """The difference now: steps of our clock since the measurement are added."""
        jumped_ms = (wall_ms - self.wall_ms) - (monotonic_ms - self.monotonic_ms)
        return self.difference_ms + jumped_ms


class BrokerClock:
    """Measures with records of a topic to which the broker gives its own time.

    A record is written at most once a minute, and whenever the difference seems to be too large. A
    step of our clock in between is noticed without a record. The difference is unknown if the topic
    does not have ``message.timestamp.type=LogAppendTime``.
    """

    def __init__(
        self,
        publisher: Publisher,
        topic: str,
        *,
        wall_ms: Callable[[], int] = now_ms,
        monotonic_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
    ) -> None:
        self._publisher = publisher
        self._topic = topic
        self._wall_ms = wall_ms
        self._monotonic_ms = monotonic_ms
        self._last: Measurement | None = None
        self._due_ms = 0
        self._measuring = asyncio.Lock()

    async def difference_ms(self, partition: int, *, at_most_ms: int) -> int | None:
        """Our clock minus the broker's; None: unknown.

        Args:
            partition: where a record may be written.
            at_most_ms: a larger difference is measured again before it is returned.

        Raises:
            PublishError, PublishRefusedError: see the publisher.
        """
        async with self._measuring:
            known = self._known()
            too_large = known is not None and abs(known) > at_most_ms
            if too_large or self._monotonic_ms() >= self._due_ms:
                # A partition without a leader must not keep the others from deciding.
                with suppress(TimeoutError):
                    async with asyncio.timeout(_MEASURE_S):
                        await self._measure(partition)
            return self._known()

    def _known(self) -> int | None:
        if self._last is None:
            return None
        return self._last.now(self._wall_ms(), self._monotonic_ms())

    async def _measure(self, partition: int) -> None:
        probe = Outgoing(topic=self._topic, partition=partition, key=_PROBE_KEY, value=None)
        sent_ms = self._wall_ms()
        broker_ms = await self._publisher.append_time_ms(probe)
        now_ms, monotonic_ms = self._wall_ms(), self._monotonic_ms()
        self._due_ms = monotonic_ms + _MEASURE_EVERY_MS
        if broker_ms is None:
            self._last = None
            return
        # The broker took its time at some moment between our two.
        difference_ms = min(sent_ms - broker_ms, now_ms - broker_ms, key=abs)
        if sent_ms <= broker_ms <= now_ms:
            difference_ms = 0
        self._last = Measurement(difference_ms, now_ms, monotonic_ms)
