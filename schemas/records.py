"""The records on the wire, as Python types: one class for each Avro record in ``schemas/avro``.

Times are ``Millis``: Unix time in milliseconds, UTC. JSON documents are text (``Json``),
money is integer micro-USD. Fields and defaults equal those of the ``.avsc`` files; a test
compares them.
"""

from enum import StrEnum
from typing import NewType

from msgspec import Struct, field

TaskId = NewType("TaskId", str)
StepName = NewType("StepName", str)
CommandId = NewType("CommandId", str)
"""``task_id/run/step/attempt``: names one attempt, and is the idempotency key of its call."""
Millis = NewType("Millis", int)
Json = NewType("Json", str)


class ErrorCategory(StrEnum):
    """The party that has to act."""

    UNKNOWN = "unknown"
    USER = "user"
    DOWNSTREAM = "downstream"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    POISON = "poison"
    INTERNAL = "internal"


class TaskStatus(StrEnum):
    """The five states of a task (and Avro's default for a symbol of a newer writer)."""

    UNKNOWN = "unknown"
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """True if only a retry leads out of this state."""
        return self in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED)


class CommandKind(StrEnum):
    """The action that a task command requests."""

    UNKNOWN = "unknown"
    EXECUTE = "execute"
    CANCEL = "cancel"
    SET_PRIORITY = "set_priority"
    RETRY = "retry"


class ResultKind(StrEnum):
    """The progress of an attempt."""

    UNKNOWN = "unknown"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class EventKind(StrEnum):
    """What happened to a task; ``ownership_taken`` is the marker of a new owner."""

    UNKNOWN = "unknown"
    CREATED = "created"
    EXECUTE_REQUESTED = "execute_requested"
    COMMAND_REFUSED = "command_refused"
    STARTED = "started"
    STEP_SUCCEEDED = "step_succeeded"
    STEP_RETRY_SCHEDULED = "step_retry_scheduled"
    PRIORITY_CHANGED = "priority_changed"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    OWNERSHIP_TAKEN = "ownership_taken"


class Lane(StrEnum):
    """The priority class of a step's topics."""

    UNKNOWN = "unknown"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class ControlKind(StrEnum):
    """Why running calls of a task have to stop."""

    UNKNOWN = "unknown"
    CANCEL = "cancel"
    DEADLINE = "deadline"


class ChunkKind(StrEnum):
    """How to read the data of a stream chunk."""

    UNKNOWN = "unknown"
    TEXT = "text"
    AUDIO = "audio"
    JSON = "json"
    PROGRESS = "progress"


class DeadLetterActionKind(StrEnum):
    """The kinds of actions on dead letters."""

    UNKNOWN = "unknown"
    REPLAY_STARTED = "replay_started"
    REPLAY_INTENDED = "replay_intended"
    REPLAYED = "replayed"
    REPLAY_PROGRESSED = "replay_progressed"
    REPLAY_STOP_REQUESTED = "replay_stop_requested"
    REPLAY_ENDED = "replay_ended"
    EDITED = "edited"
    PARKED = "parked"
    DISCARDED = "discarded"
    RESOLVED = "resolved"
    REOPENED = "reopened"
    IMPORTED = "imported"


class Record(Struct, frozen=True):
    """Base of all records: immutable, compared by value."""


class Error(Record, frozen=True, kw_only=True):
    """The cause of a failure. ``code`` is stable; programs do not parse ``message``."""

    code: str = ""
    message: str = ""
    category: ErrorCategory = ErrorCategory.UNKNOWN
    retriable: bool = False
    service: str | None = None


class Usage(Record, frozen=True, kw_only=True):
    """What a call consumed; ``cost_micros`` is integer micro-USD."""

    model: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0
    estimated: bool = False


class SubStep(Record, frozen=True, kw_only=True):
    """One iteration inside a step, such as a tool call of an agent."""

    name: str = ""
    status: str = ""
    input: Json = Json("{}")
    output: Json = Json("{}")
    error: Error | None = None
    started_at: Millis
    completed_at: Millis | None = None
    usage: Usage | None = None


class TaskCreated(Record, frozen=True, kw_only=True):
    """A request of an upstream service to create a task. Keyed by ``task_id``.

    ``created_at`` is for information: clocks of upstream services cannot be trusted. The time
    in ``timeout_ms`` counts from when the task's owner accepts the record; ``deadline_at``, if
    given and earlier, is kept as it is. (The text beside ``timeout_ms`` in version 1 of the
    schema says otherwise; a published schema never changes.)
    """

    task_id: TaskId
    tenant_id: str
    type: str = ""
    input: Json = Json("{}")
    priority: int = 5
    conversation_id: str | None = None
    user_id: str | None = None
    metadata: Json = Json("{}")
    hold: bool = False
    timeout_ms: int | None = None
    deadline_at: Millis | None = None
    idempotency_key: str | None = None
    pipeline_version: int | None = None
    created_at: Millis


class TaskCommand(Record, frozen=True, kw_only=True):
    """A command about one task, which its owner may refuse. Keyed by ``task_id``."""

    command_id: str
    task_id: TaskId
    tenant_id: str
    kind: CommandKind = CommandKind.UNKNOWN
    priority: int | None = None
    from_step: str | None = None
    run: int | None = None
    reason: str | None = None
    actor: str = ""
    issued_at: Millis


class StepCommand(Record, frozen=True, kw_only=True):
    """A command to run one attempt of one step. Keyed by ``task_id``."""

    command_id: CommandId
    task_id: TaskId
    tenant_id: str
    run: int = 1
    step: StepName = StepName("")
    step_index: int = 0
    attempt: int = 1
    max_attempts: int = 1
    pipeline: str = ""
    pipeline_version: int = 1
    service: str = ""
    method: str = ""
    input: Json = Json("{}")
    priority: int = 5
    conversation_id: str | None = None
    timeout_ms: int = 0
    deadline_at: Millis
    dispatched_at: Millis


class StepResult(Record, frozen=True, kw_only=True):
    """A worker's report about one attempt. Keyed by ``task_id``."""

    command_id: CommandId
    task_id: TaskId
    tenant_id: str
    run: int = 1
    step: StepName = StepName("")
    attempt: int = 1
    kind: ResultKind = ResultKind.UNKNOWN
    output: Json | None = None
    error: Error | None = None
    usage: Usage | None = None
    substeps: list[SubStep] = field(default_factory=list)
    retry_after_ms: int | None = None
    command_topic: str = ""
    command_partition: int = -1
    command_offset: int = -1
    worker: str = ""
    started_at: Millis
    completed_at: Millis | None = None


class TaskSpec(Record, frozen=True, kw_only=True):
    """Everything that is fixed when a task is created, with its resolved pipeline and deadline."""

    task_id: TaskId
    tenant_id: str
    type: str = ""
    input: Json = Json("{}")
    priority: int = 5
    conversation_id: str | None = None
    user_id: str | None = None
    metadata: Json = Json("{}")
    hold: bool = False
    timeout_ms: int = 0
    deadline_at: Millis
    idempotency_key: str | None = None
    pipeline: str = ""
    pipeline_version: int = 1
    kept_outputs: dict[str, Json] = field(default_factory=dict)
    created_at: Millis


class StepOutcome(Record, frozen=True, kw_only=True):
    """The step that an event is about: it started, ended, or was scheduled again."""

    command_id: CommandId
    name: StepName = StepName("")
    step_index: int = 0
    service: str = ""
    attempt: int = 1
    status: str = ""
    output: Json | None = None
    error: Error | None = None
    usage: Usage | None = None
    substeps: list[SubStep] = field(default_factory=list)
    started_at: Millis | None = None
    completed_at: Millis | None = None
    next_attempt_at: Millis | None = None
    worker: str = ""
    command_topic: str = ""
    command_partition: int = -1
    command_offset: int = -1


class DispatchedStep(Record, frozen=True, kw_only=True):
    """A step command that follows from an event."""

    command_id: CommandId
    step: StepName = StepName("")
    step_index: int = 0
    service: str = ""
    attempt: int = 1
    lane: Lane = Lane.UNKNOWN
    input: Json = Json("{}")


class TaskEvent(Record, frozen=True, kw_only=True):
    """One decision about one task; these events are the log. Keyed by ``task_id``.

    ``cause_*`` is the position of the input that this event decides (-1: a timer, a
    marker). An event counts only under the ownership that a marker announced before it.
    """

    event_id: str
    task_id: TaskId
    tenant_id: str
    kind: EventKind = EventKind.UNKNOWN
    sequence: int = 0
    run: int = 1
    status: TaskStatus = TaskStatus.UNKNOWN
    phase: str = ""
    priority: int = 5
    occurred_at: Millis
    owner: str = ""
    owner_epoch: int = 0
    cause_topic: str = ""
    cause_partition: int = -1
    cause_offset: int = -1
    task: TaskSpec | None = None
    step: StepOutcome | None = None
    dispatched: list[DispatchedStep] = field(default_factory=list)
    output: Json | None = None
    error: Error | None = None
    usage: Usage | None = None
    actor: str | None = None
    reason: str | None = None


class TaskState(Record, frozen=True, kw_only=True):
    """A snapshot for the router's recovery; private. ``state`` is a JSON document."""

    task_id: TaskId
    owner: str = ""
    owner_epoch: int = 0
    as_of: int = -1
    state: Json = Json("{}")


class Control(Record, frozen=True, kw_only=True):
    """A broadcast to every step worker: calls of this task's run have to stop."""

    kind: ControlKind = ControlKind.UNKNOWN
    task_id: TaskId
    run: int = 1
    reason: str = ""
    at: Millis


class StreamChunk(Record, frozen=True, kw_only=True):
    """Progress of a running step; best effort, the result does not need it. Audio is base64."""

    task_id: TaskId
    run: int = 1
    step: StepName = StepName("")
    attempt: int = 1
    index: int = 0
    kind: ChunkKind = ChunkKind.UNKNOWN
    data: str = ""
    at: Millis


class DeadLetterItem(Record, frozen=True, kw_only=True):
    """The part of an action that concerns one dead letter."""

    letter_id: str
    count: int = 0
    topic: str = ""
    partition: int = -1
    offset: int = -1
    reason: str = ""


class DeadLetterAction(Record, frozen=True, kw_only=True):
    """An action on dead letters, with its actor and reason: the ledger of dead letters."""

    action_id: str
    kind: DeadLetterActionKind = DeadLetterActionKind.UNKNOWN
    replay_id: str | None = None
    actor: str = ""
    reason: str = ""
    filter: Json = Json("{}")
    counts: dict[str, int] = field(default_factory=dict)
    outcome: str = ""
    items: list[DeadLetterItem] = field(default_factory=list)
    value_base64: str | None = None
    sha256_before: str | None = None
    sha256_after: str | None = None
    at: Millis


WIRE_RECORDS: tuple[type[Record], ...] = (
    TaskCreated,
    TaskCommand,
    StepCommand,
    StepResult,
    TaskEvent,
    TaskState,
    Control,
    StreamChunk,
    DeadLetterAction,
)
"""The records that are the value of a topic; the others are parts of these."""
