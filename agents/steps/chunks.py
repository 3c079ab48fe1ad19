"""Passes on an answer to watchers while it grows. Best effort: the result is complete without."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from schemas.errors import EncodeError
from schemas.records import ChunkKind, Millis, StepCommand, StreamChunk
from schemas.topics import Topics
from streams.envelopes import chunk_record
from streams.errors import PublishError, PublishRefusedError
from streams.kafka.publisher import Publisher

log = structlog.get_logger()


class Chunks:
    """The chunks of one attempt.

    Text that comes while a record is being sent goes with the next record, so a fast service
    costs few records, and a slow broker delays no call.
    """

    def __init__(
        self,
        command: StepCommand,
        partition: int,
        *,
        topics: Topics,
        publisher: Publisher,
        clock: Callable[[], Millis],
    ) -> None:
        self._command = command
        self._partition = partition
        self._topics = topics
        self._publisher = publisher
        self._clock = clock
        self._waiting: list[str] = []
        self._index = 0
        self._sender: asyncio.Task[None] | None = None

    def add(self, text: str) -> None:
        """Take the next piece; returns at once and never raises."""
        self._waiting.append(text)
        if self._sender is None:
            self._sender = asyncio.get_running_loop().create_task(self._send())

    async def flush(self) -> None:
        """Wait until all text was sent or given up. The producer bounds the wait."""
        if self._sender is not None:
            await asyncio.wait({self._sender})

    async def begin_again(self) -> None:
        """Begin the answer anew: the next chunk has the index 0, as that of another worker has."""
        await self.flush()
        # What followed a lost chunk belongs to the old answer.
        self._waiting.clear()
        self._index = 0

    async def _send(self) -> None:
        try:
            while self._waiting:
                text, self._waiting = "".join(self._waiting), []
                chunk = StreamChunk(
                    task_id=self._command.task_id,
                    run=self._command.run,
                    step=self._command.step,
                    attempt=self._command.attempt,
                    index=self._index,
                    kind=ChunkKind.TEXT,
                    data=text,
                    at=self._clock(),
                )
                self._index += 1
                record = chunk_record(self._topics, self._partition, chunk)
                await self._publisher.publish([record])
        except (PublishError, PublishRefusedError, EncodeError) as error:
            log.warning("chunk_lost", command_id=self._command.command_id, code=error.code)
        finally:
            self._sender = None
