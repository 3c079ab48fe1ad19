"""Publishes dead letters: the original record and why nobody could process it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence

import structlog

from schemas.dead_letter import (
    Failure,
    FailureClass,
    Origin,
    Stage,
    dead_letter_headers,
    dead_letter_id,
)
from schemas.errors import DecodeError, OrchestratorError
from schemas.topics import dlq
from streams import metrics
from streams.publisher import Outgoing, Publisher

log = structlog.get_logger()


class DeadLetters:
    """Buries records for one consumer group. Delivered before the origin is acknowledged."""

    def __init__(self, publisher: Publisher, *, group: str) -> None:
        self._publisher = publisher
        self._group = group

    async def bury(self, letters: Sequence[tuple[Origin, Failure]]) -> None:
        """Publish dead letters, and return when they are acknowledged.

        Burying a record again makes a second copy with the same id.

        Raises:
            PublishError: unknown whether they were written; do not acknowledge the origins.
        """
        if not letters:
            return
        now_ms = time.time_ns() // 1_000_000
        await self._publisher.publish([self._outgoing(o, f, now_ms) for o, f in letters])
        for origin, failure in letters:
            metrics.DEAD_LETTERS.labels(origin.topic, failure.code).inc()
            log.warning(
                "dead_lettered",
                id=dead_letter_id(origin, self._group),
                topic=origin.topic,
                partition=origin.partition,
                offset=origin.offset,
                stage=failure.stage,
                code=failure.code,
                task_id=failure.task_id,
            )

    def _outgoing(self, origin: Origin, failure: Failure, now_ms: int) -> Outgoing:
        return Outgoing(
            topic=dlq(origin.topic),
            partition=origin.partition,
            key=origin.key,
            value=origin.value,
            headers=dead_letter_headers(origin, failure, group=self._group, now_ms=now_ms),
            timestamp_ms=now_ms,
        )


def poison(record: Origin, error: DecodeError) -> tuple[Origin, Failure]:
    """The dead letter of bytes that nobody can read."""
    return record, failure_of(error, stage=Stage.DECODE, failure_class=FailureClass.POISON)


def failure_of(
    error: OrchestratorError,
    *,
    stage: Stage,
    failure_class: FailureClass,
    task_id: str | None = None,
    tenant_id: str | None = None,
) -> Failure:
    """Describe an error of ours as the reason of a dead letter."""
    return Failure(
        stage=stage,
        failure_class=failure_class,
        code=error.code,
        message=str(error),
        exception_class=type(error).__qualname__,
        stacktrace="".join(traceback.format_exception(error)),
        task_id=task_id,
        tenant_id=tenant_id,
    )
