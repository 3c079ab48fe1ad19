"""The existing results of a step's commands, read from the log of results."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

import structlog

from schemas.codec import decode
from schemas.dead_letter import Origin
from schemas.errors import DecodeError
from schemas.headers import header_text
from schemas.records import CommandId, Millis, ResultKind, StepName, StepResult
from schemas.topics import Topics
from streams.kafka.log_reader import LogReader
from streams.settings import KafkaSettings

log = structlog.get_logger()

_TERMINAL = (ResultKind.SUCCEEDED, ResultKind.FAILED, ResultKind.CANCELLED)


# No command has a later deadline; the clocks of workers may differ a little.
_WINDOW_MS = 24 * 3_600_000 + 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PastResults:
    """Results for a worker whose group has lost its positions.

    The worker reads old commands again; a command that has a result must not be called twice.
    """

    kafka: KafkaSettings
    topics: Topics
    step: StepName
    at_most: int
    """Records to read: the newest ones of the last 24 hours, at most this number."""
    max_bytes: int
    """Size of the results that are kept in all; the oldest are left out first."""
    clock: Callable[[], Millis]

    async def results(self, partitions: Collection[int]) -> dict[CommandId, bytes]:
        """The results of the step's commands in these partitions, as they were published.

        Raises:
            KafkaUnavailableError: the log could not be read.
        """
        found: dict[CommandId, bytes] = {}
        size = 0
        client_id = f"{self.kafka.client_id}-past-results"
        async with LogReader(self.kafka, client_id=client_id) as reader:
            bounds = await self._bounds(reader, partitions)
            async for records in reader.read_all(bounds):
                for record in records:
                    size += self._take(record, found)
                    while size > self.max_bytes:
                        size -= len(found.pop(next(iter(found))))
        log.warning(
            "positions_lost",
            step=self.step,
            partitions=sorted(partitions),
            results_remembered=len(found),
        )
        return found

    async def _bounds(
        self, reader: LogReader, partitions: Collection[int]
    ) -> dict[tuple[str, int], tuple[int, int]]:
        topic, since = self.topics.step_results, self.clock() - _WINDOW_MS
        each, bounds = self.at_most // max(1, len(partitions)), {}
        for partition in partitions:
            start = await reader.offset_at(topic, partition, since)
            first, end = await reader.bounds(topic, partition)
            bounds[topic, partition] = (max(first, start, end - each), end)
        return bounds

    def _take(self, record: Origin, found: dict[CommandId, bytes]) -> int:
        """Keep a record if it is a result of the step; return the bytes that are kept for it."""
        # Most records are of other steps and need not be decoded.
        if header_text(record.headers, "ce_step") not in (None, self.step):
            return 0
        with suppress(DecodeError):
            result, value = decode(record.value, StepResult), record.value or b""
            wanted = result.step == self.step and result.kind in _TERMINAL
            if wanted and result.command_id not in found:
                found[result.command_id] = value
                return len(value)
        return 0
