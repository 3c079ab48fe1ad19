"""The state of one task: the result of folding its events.

Only :mod:`tasks.apply` makes these states, only :mod:`tasks.decide` decides by them.
"""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from schemas.records import (
    CommandId,
    Error,
    Json,
    Lane,
    Millis,
    StepName,
    TaskId,
    TaskSpec,
    TaskStatus,
    Usage,
)


class Phase(StrEnum):
    """The phase of a task, finer than its status. Readers must expect new phases."""

    ACCEPTED = "accepted"
    """Only readers of task-created know the task; its owner has not decided yet. Never in a
    state."""
    HELD = "held"
    """Pending, waits for an execute command. Its deadline runs."""
    QUEUED = "queued"
    """A step's command is sent, and no worker has reported its start."""
    STEP_RUNNING = "step_running"
    """A worker reported that it calls the step's service."""
    RETRY_SCHEDULED = "retry_scheduled"
    """An attempt failed; the next one's command goes out at its due time, without an event."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepStatus(StrEnum):
    """The status of a step in an event."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETRY_SCHEDULED = "retry_scheduled"
    """This attempt failed and another one follows."""


class Outstanding(Struct, frozen=True, kw_only=True):
    """The one attempt whose result counts. Its command is a function of these fields."""

    command_id: CommandId
    step: StepName
    step_index: int
    """From 0."""
    attempt: int
    """From 1."""
    lane: Lane
    """The lane of the command, or the one that it will be sent to; a new priority may change it."""
    service: str
    input: Json
    priority: int
    """The task's priority when the command was made. A later change moves the command to
    another lane without changing its bytes: one command id has one content."""
    dispatched_at: Millis
    """When the event occurred that dispatched or scheduled this attempt."""
    due_at: Millis | None = None
    """None: the command is sent. A time: the command is due then, and may have been sent since."""


class Task(Struct, frozen=True, kw_only=True):
    """A task as its owner knows it. Values of mappings must not be changed."""

    spec: TaskSpec
    run: int
    """From 1; increases by one with each retry of an ended task."""
    status: TaskStatus
    phase: Phase
    priority: int
    """The current one; ``spec`` holds the priority at the start of the run."""
    sequence: int
    """Sequence of the last applied event, from 1."""
    outputs: Mapping[StepName, Json]
    """Outputs of the steps that succeeded, including those kept from an earlier run."""
    outstanding: Outstanding | None
    """None when held or ended."""
    usage: Usage
    """Sum over all applied attempts of all runs."""
    output: Json | None
    error: Error | None
    created_at: Millis
    started_at: Millis | None
    """First start of a step in this run."""
    completed_at: Millis | None
    """When this run ended, successfully or not."""
    updated_at: Millis
    deadline_at: Millis
    decided: Mapping[str, int]
    """Input topic to the offset of the last input that was decided for this task."""
    content_hash: str = ""
    """Hash of the request; empty until the documents are dropped (:mod:`tasks.remember`)."""

    @property
    def task_id(self) -> TaskId:
        """The id, which is also the key of every record about this task."""
        return self.spec.task_id


def command_id_of(task_id: TaskId, *, run: int, step: StepName, attempt: int) -> CommandId:
    """Name one attempt: ``task_id/run/step/attempt``."""
    return CommandId(f"{task_id}/{run}/{step}/{attempt}")
