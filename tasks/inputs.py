"""What a task's owner decides about. A due retry is none: it was decided when scheduled."""

from msgspec import Struct

from schemas.records import StepResult, TaskCommand, TaskCreated, TaskId


class Cause(Struct, frozen=True):
    """The position of an input in Kafka. All inputs of a task in a topic share a partition."""

    topic: str
    partition: int
    offset: int


NO_CAUSE = Cause("", -1, -1)
"""The cause of what a timer brings about."""


class Created(Struct, frozen=True):
    """Someone wants a task done."""

    cause: Cause
    record: TaskCreated


class Commanded(Struct, frozen=True):
    """Someone orders something about a task."""

    cause: Cause
    record: TaskCommand


class Reported(Struct, frozen=True):
    """A step worker reports on an attempt."""

    cause: Cause
    record: StepResult


class DeadlineDue(Struct, frozen=True):
    """The timer of a task's deadline went off."""

    task_id: TaskId


Input = Created | Commanded | Reported | DeadlineDue


def task_id_of(given: Input) -> TaskId:
    """The task that an input is about."""
    if isinstance(given, DeadlineDue):
        return given.task_id
    return given.record.task_id
