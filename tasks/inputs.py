"""The inputs of a decision. A due retry is not an input: it was decided when it was scheduled."""

from msgspec import Struct

from schemas.records import StepResult, TaskCommand, TaskCreated, TaskId


class Cause(Struct, frozen=True):
    """The position of an input in Kafka. All inputs of a task in a topic share a partition."""

    topic: str
    partition: int
    offset: int


NO_CAUSE = Cause("", -1, -1)
"""The cause of an event that a timer made."""


class Created(Struct, frozen=True):
    """A request to create a task."""

    cause: Cause
    record: TaskCreated


class Commanded(Struct, frozen=True):
    """A command about a task."""

    cause: Cause
    record: TaskCommand


class Reported(Struct, frozen=True):
    """A step worker's report on an attempt."""

    cause: Cause
    record: StepResult


class DeadlineDue(Struct, frozen=True):
    """The timer of a task's deadline has expired."""

    task_id: TaskId


Input = Created | Commanded | Reported | DeadlineDue


def task_id_of(given: Input) -> TaskId:
    """The task that an input is about."""
    if isinstance(given, DeadlineDue):
        return given.task_id
    return given.record.task_id
