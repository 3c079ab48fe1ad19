"""The dead letter of a step that failed for good. Pure."""

from schemas.dead_letter import Failure, FailureClass, Origin, Stage
from schemas.records import ErrorCategory, Millis
from schemas.topics import Topics
from streams.envelopes import Trace, command_record
from tasks.effects import DeadLetterStep, is_deadline
from tasks.lane import lane_of


def step_letter(
    topics: Topics, partition: int, effect: DeadLetterStep, trace: Trace
) -> tuple[Origin, Failure]:
    """The dead letter, in the topic of its command, of a step that failed for good.

    The command is rebuilt from state: the same bytes and headers as the worker read, except for
    the trace, which is the one of the failure. The result of the step names the offset at which the
    worker read the command. A step that a deadline stopped has no result: the offset is -1, and
    the letter's id is derived from the command's.
    """
    command, error, step = effect.command, effect.error, effect.event.step
    known = step is not None and step.command_offset >= 0
    lane = lane_of(command.priority)
    rebuilt = command_record(topics, partition, command, lane, {})
    origin = Origin(
        topic=step.command_topic if step is not None and known else topics.step(command.step, lane),
        partition=step.command_partition if step is not None and known else partition,
        offset=step.command_offset if step is not None and known else -1,
        timestamp_ms=Millis(command.dispatched_at),
        key=rebuilt.key,
        value=rebuilt.value,
        headers=tuple(rebuilt.headers),
    )
    failure = Failure(
        stage=Stage.EXECUTE,
        failure_class=_class_of(effect),
        code=error.code,
        message=error.message,
        delivery_count=command.attempt,
        task_id=command.task_id,
        tenant_id=command.tenant_id,
        step=command.step,
        service=command.service,
        traceparent=trace.get("traceparent"),
    )
    return origin, failure


def _class_of(effect: DeadLetterStep) -> FailureClass:
    if is_deadline(effect.error):
        return FailureClass.DEADLINE
    match effect.error.category:
        case ErrorCategory.TIMEOUT:
            return FailureClass.TIMEOUT
        case ErrorCategory.POISON:
            return FailureClass.POISON
    retriable = effect.error.retriable
    return FailureClass.TRANSIENT_EXHAUSTED if retriable else FailureClass.PERMANENT
