"""The reports of a step worker about an attempt. Pure."""

from dataclasses import dataclass

import msgspec

from agents.services.client import StepResponse
from agents.services.failure import one_line
from schemas.dead_letter import Origin
from schemas.errors import EncodeError
from schemas.limits import Limits
from schemas.records import Error, ErrorCategory, Millis, ResultKind, StepCommand, StepResult, Usage
from schemas.topics import Topics
from streams.envelopes import Trace, result_record
from streams.kafka.publisher import Outgoing


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A running attempt: builds each of its reports."""

    command: StepCommand
    origin: Origin
    """The position of the command."""
    worker: str
    started_at: Millis

    def started(self) -> StepResult:
        """The report that the attempt runs."""
        command, origin = self.command, self.origin
        return StepResult(
            command_id=command.command_id,
            task_id=command.task_id,
            tenant_id=command.tenant_id,
            run=command.run,
            step=command.step,
            attempt=command.attempt,
            kind=ResultKind.STARTED,
            command_topic=origin.topic,
            command_partition=origin.partition,
            command_offset=origin.offset,
            worker=self.worker,
            started_at=self.started_at,
        )

    def succeeded(self, response: StepResponse, completed_at: Millis) -> StepResult:
        """The report of an answer. The owner checks whether the answer can be stored."""
        return msgspec.structs.replace(
            self.started(),
            kind=ResultKind.SUCCEEDED,
            output=response.output,
            usage=response.usage,
            substeps=response.substeps,
            completed_at=completed_at,
        )

    def failed(
        self,
        error: Error,
        completed_at: Millis,
        *,
        retry_after_ms: int | None = None,
        usage: Usage | None = None,
    ) -> StepResult:
        """The report of a failure. The owner decides whether another attempt follows."""
        return msgspec.structs.replace(
            self.started(),
            kind=ResultKind.FAILED,
            error=error,
            usage=usage,
            retry_after_ms=retry_after_ms,
            completed_at=completed_at,
        )

    def cancelled(self, error: Error, completed_at: Millis) -> StepResult:
        """The report that the attempt was stopped, or not made, because its run was stopped."""
        return msgspec.structs.replace(
            self.started(), kind=ResultKind.CANCELLED, error=error, completed_at=completed_at
        )


def error_of(
    command: StepCommand,
    code: str,
    message: str,
    category: ErrorCategory,
    *,
    retriable: bool = False,
) -> Error:
    """A failure that the worker itself detected."""
    return Error(
        code=code,
        message=one_line(message),
        category=category,
        retriable=retriable,
        service=command.service,
    )


def report_record(
    topics: Topics, limits: Limits, attempt: Attempt, result: StepResult, trace: Trace
) -> Outgoing:
    """A report as a record, in the partition of its command, which is that of its task.

    A report that no record can hold (a lone surrogate, or too large) becomes a failure of the
    step: the service's fault must not stop the worker.
    """
    partition = attempt.origin.partition
    try:
        record = result_record(topics, partition, result, trace)
    except EncodeError as refused:
        reason = str(refused)
    else:
        if len(record.value or b"") <= limits.record_max_bytes:
            return record
        reason = f"the result is larger than a record of {limits.record_max_bytes} bytes"
    error = error_of(attempt.command, "OUTPUT_NOT_STORABLE", reason, ErrorCategory.DOWNSTREAM)
    ended_at = result.completed_at or attempt.started_at
    try:
        # The call was paid for.
        return result_record(
            topics, partition, attempt.failed(error, ended_at, usage=result.usage), trace
        )
    except EncodeError:
        return result_record(topics, partition, attempt.failed(error, ended_at), trace)
