"""Measures what operators still have to do: open dead letters, by topic, and their age."""

from __future__ import annotations

import asyncio

from sinks.letters.writer import DeadLetterWriter
from streams import metrics

_EVERY_S = 10.0


class OpenLetters:
    """Reads counts from the index from time to time. Only one process of a system does."""

    def __init__(self, writer: DeadLetterWriter) -> None:
        self._writer = writer
        self._next_at = 0.0
        self._topics: set[str] = set()

    async def show(self) -> None:
        """Set the gauges, if it is time.

        Raises:
            SinkUnavailableError: the gauges keep their values; try again later.
        """
        now = asyncio.get_running_loop().time()
        if now < self._next_at:
            return
        found = await self._writer.still_open()
        self._next_at = now + _EVERY_S
        self._topics.update(one.topic for one in found)
        by_topic = {one.topic: one for one in found}
        for topic in self._topics:
            one = by_topic.get(topic)
            metrics.OPEN_LETTERS.labels(topic).set(one.count if one else 0)
            metrics.OLDEST_OPEN_LETTER_SECONDS.labels(topic).set(one.oldest_s if one else 0.0)
