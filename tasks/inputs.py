"""What a task's owner decides about. A due retry is none: it was decided when scheduled."""

from dataclasses import dataclass

from schemas.records import StepResult, TaskCommand, TaskCreated, TaskId


@dataclass(frozen=True, slots=True)
class Cause:
    """The position of an input in Kafka. All inputs of a task in a topic share a partition."""

    topic: str
    partition: int
    offset: int


NO_CAUSE = Cause("", -1, -1)
"""The cause of what a timer brings about."""


@dataclass(frozen=True, slots=True)
class Created:
    """Someone wants a task done."""

    cause: Cause
    record: TaskCreated


@dataclass(frozen=True, slots=True)
class Commanded:
    """Someone orders something about a task."""

    cause: Cause
    record: TaskCommand


@dataclass(frozen=True, slots=True)
class Reported:
    """A step worker reports on an attempt."""

    cause: Cause
    record: StepResult


@dataclass(frozen=True, slots=True)
class DeadlineDue:
    """The timer of a task's deadline went off."""

    task_id: TaskId


Input = Created | Commanded | Reported | DeadlineDue


def task_id_of(given: Input) -> TaskId:
    """The task that an input is about."""
    if isinstance(given, DeadlineDue):
        return given.task_id
    return given.record.task_id
