"""What the service answers. Fields that a newer service adds are left out."""

import builtins
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from ai_orchestrator.client.errors import FaultError, TaskFailedError

T = TypeVar("T")
ENDED = frozenset({"completed", "failed", "cancelled"})


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a task or a step failed."""

    code: str
    message: str = ""
    category: str = ""
    retriable: bool = False
    service: str | None = None
    step: str | None = None
    attempt: int | None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What calls consumed; ``cost_micros`` is integer micro-USD."""

    model: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0
    estimated: bool = False


class StepState(msgspec.Struct, frozen=True, kw_only=True):
    """The last attempt of a step."""

    name: str
    status: str
    service: str = ""
    run: int = 1
    attempt: int = 1
    input: Any = None
    output: Any = None
    error: Failure | None = None
    usage: Usage | None = None
    substeps: list[dict[str, Any]] = []
    started_at: datetime | None = None
    completed_at: datetime | None = None


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task with its documents and steps."""

    id: str
    type: str
    status: str
    """``pending``, ``running``, ``completed``, ``failed`` or ``cancelled``."""
    phase: str = ""
    priority: int = 5
    conversation_id: str | None = None
    user_id: str | None = None
    tenant_id: str = ""
    input: Any = None
    output: Any = None
    metadata: Any = None
    steps: list[StepState] = []
    created_at: datetime | None = None
    updated_at: datetime | None = None
    completed_at: datetime | None = None
    deadline_at: datetime | None = None
    duration_ms: int | None = None
    error: Failure | None = None
    usage: Usage = Usage()
    sequence: int = 0
    """Of its last event."""
    run: int = 1

    @property
    def ended(self) -> bool:
        """Whether it is completed, failed or cancelled."""
        return self.status in ENDED

    def result(self, kind: builtins.type[T]) -> T:
        """The output of a completed task, as a type that msgspec knows.

        Raises:
            TaskFailedError: the task failed, was cancelled, or has not ended (``NOT_ENDED``).
            FaultError: the output has another form (``OUTPUT_UNEXPECTED``).
        """
        if self.status != "completed":
            code = "CANCELLED" if self.status == "cancelled" else "NOT_ENDED"
            found = self.error or Failure(code=code, message=f"the task is {self.status}")
            raise TaskFailedError(found.code, found.message, task_id=self.id)
        try:
            return msgspec.convert(self.output, kind)
        except msgspec.ValidationError as error:
            raise FaultError("OUTPUT_UNEXPECTED", str(error), task_id=self.id) from None


class TaskSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A task as lists show it."""

    id: str
    type: str
    status: str
    phase: str = ""
    priority: int = 5
    conversation_id: str | None = None
    user_id: str | None = None
    tenant_id: str = ""
    created_at: datetime | None = None
    completed_at: datetime | None = None
    duration_ms: int | None = None
    error_code: str | None = None
    cost_micros: int = 0


class Event(msgspec.Struct, frozen=True, kw_only=True, tag="event"):
    """One event of a task; ``sequence`` has no gaps."""

    task_id: str
    sequence: int
    kind: str
    status: str
    run: int = 1
    phase: str = ""
    occurred_at: datetime | None = None
    step: dict[str, Any] | None = None
    output: Any = None
    """Only in ``completed``: the output of the task."""
    error: Failure | None = None


class Chunk(msgspec.Struct, frozen=True, kw_only=True, tag="chunk"):
    """A part of a growing answer: best effort, and complete only in the output.

    With ``index`` 0 the answer begins, or begins again: forget the chunks before.
    """

    task_id: str
    data: str
    step: str = ""
    run: int = 1
    attempt: int = 1
    index: int = 0
    kind: str = ""


class Lagged(msgspec.Struct, frozen=True, kw_only=True, tag="lagged"):
    """This number of chunks was left out, because they were read too slowly."""

    task_id: str
    chunks: int


Item = Event | Chunk | Lagged


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record or step that failed for good."""

    id: str
    status: str
    code: str
    message: str = ""
    topic: str = ""
    stage: str = ""
    failure_class: str = ""
    replays: int = 0
    dead_lettered_at: datetime | None = None
    task_id: str | None = None
    type: str | None = None
    step: str | None = None
    service: str | None = None


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay did, or in a dry run would do: counts by what happened to the letters."""

    replay_id: str
    outcome: str
    counts: dict[str, int] = {}


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a create."""

    task: Task
    replayed: bool = False


class TaskPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of tasks."""

    tasks: list[TaskSummary]
    next_page_token: str | None = None


class LetterPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of dead letters."""

    dead_letters: list[DeadLetter]
    next_page_token: str | None = None


class LetterDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter with its record."""

    dead_letter: DeadLetter
    contents: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
