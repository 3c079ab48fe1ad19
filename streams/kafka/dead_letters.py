"""Publishes dead letters: the original record and the reason why it was not processed."""

from __future__ import annotations

import traceback
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

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
from schemas.limits import EVENT_MAX_BYTES
from schemas.topics import dlq
from streams import metrics
from streams.clock import now_ms
from streams.errors import PublishRefusedError
from streams.kafka.cut_letter import cut
from streams.kafka.patience import publish_patiently
from streams.kafka.publisher import Outgoing, Publisher

log = structlog.get_logger()

_SHOWN_MAX = 80
_LINES_MAX = 20


class DeadLetters:
    """Publishes dead letters for one consumer group, before their origins are acknowledged.

    Args:
        publisher: open.
        group: the consumer group that gives records up.
        max_bytes: size of a whole letter. A larger one is cut
            (:func:`~streams.kafka.cut_letter.cut`).
    """

    def __init__(
        self, publisher: Publisher, *, group: str, max_bytes: int = EVENT_MAX_BYTES
    ) -> None:
        self._publisher = publisher
        self._group = group
        self._max_bytes = max_bytes

    async def publish(self, letters: Sequence[tuple[Origin, Failure]]) -> None:
        """Publish dead letters, and return when they are acknowledged.

        A letter that the broker refuses because of its size is cut. After any other refusal this
        method waits, with growing pauses, until an operator has acted. A second letter of the same
        record is a copy with the same id.

        Raises:
            PublishError: it is unknown whether they were written; do not acknowledge the origins.
        """
        if not letters:
            return
        described = [(origin, _with_fault(origin, failure)) for origin, failure in letters]
        at = now_ms()
        records = [self._outgoing(origin, failure, at) for origin, failure in described]
        try:
            await self._publisher.publish(records)
        except PublishRefusedError:
            # Which letter was refused does not matter: a second copy of the others changes nothing.
            for record in records:
                await self._publish_alone(record)
        self._note(described)

    def _note(self, letters: Sequence[tuple[Origin, Failure]]) -> None:
        """Count and log letters: a line for each, or for each code if there are many."""
        seen: dict[tuple[str, int, str], list[tuple[Origin, Failure]]] = defaultdict(list)
        for origin, failure in letters:
            metrics.DEAD_LETTERS.labels(origin.topic, failure.code).inc()
            seen[origin.topic, origin.partition, failure.code].append((origin, failure))
        for (topic, partition, code), alike in seen.items():
            if len(alike) > _LINES_MAX:
                log.warning(
                    "dead_lettered_many",
                    topic=topic,
                    partition=partition,
                    code=code,
                    count=len(alike),
                    first_offset=alike[0][0].offset,
                    last_offset=alike[-1][0].offset,
                )
                continue
            for origin, failure in alike:
                log.warning(
                    "dead_lettered",
                    id=dead_letter_id(origin, self._group),
                    topic=topic,
                    partition=partition,
                    offset=origin.offset,
                    stage=failure.stage,
                    code=code,
                    task_id=_shown(failure.task_id),
                )

    async def _publish_alone(self, record: Outgoing) -> None:
        try:
            await self._publisher.publish([record])
        except PublishRefusedError as error:
            smaller = cut(record) if error.too_large else record
            await publish_patiently(self._publisher, [smaller])

    def _outgoing(self, origin: Origin, failure: Failure, now_ms: int) -> Outgoing:
        letter = Outgoing(
            topic=dlq(origin.topic),
            partition=origin.partition,
            key=origin.key,
            value=origin.value if origin.fault is None else origin.fault.batch,
            headers=dead_letter_headers(origin, failure, group=self._group, now_ms=now_ms),
            timestamp_ms=now_ms,
        )
        return cut(letter) if letter.size > self._max_bytes else letter


def _with_fault(origin: Origin, failure: Failure) -> Failure:
    """For records that could not be fetched: the failure that the fetch reported."""
    if origin.fault is None:
        return failure
    return replace(failure, code=origin.fault.code, message=origin.fault.message)


def _shown(task_id: str | None) -> str | None:
    """The id of a task as a log line shows it; a stranger may have written it."""
    return None if task_id is None else task_id[:_SHOWN_MAX]


def poison(record: Origin, error: DecodeError) -> tuple[Origin, Failure]:
    """The dead letter of bytes that cannot be decoded."""
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
