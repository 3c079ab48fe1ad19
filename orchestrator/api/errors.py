"""What a call can be refused with: one error, told by HTTP and gRPC in their own words."""

from collections.abc import Mapping
from enum import Enum

from orchestrator.api.tasks.receipt import Receipt
from schemas.errors import InvalidRecordError, OrchestratorError


class Kind(Enum):
    """What the caller may do: one gRPC status and one HTTP status each."""

    INVALID = "invalid"
    """Mend the request."""
    TOO_LARGE = "too_large"
    """Send less."""
    MEDIA_TYPE = "media_type"
    """Send another content type."""
    UNAUTHENTICATED = "unauthenticated"
    """Send a key."""
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    """The task is in no state for this."""
    EXISTS = "exists"
    """Take another key."""
    UNAVAILABLE = "unavailable"
    """Try again later."""
    INTERNAL = "internal"


RETRY_AFTER_S = 1.0


class ApiError(OrchestratorError):
    """A refusal. ``code`` is stable and in ``docs/errors.md``; ``field`` names what is wrong."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        kind: Kind = Kind.INVALID,
        field: str | None = None,
        task_id: str | None = None,
        receipt: Receipt | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # varies by instance, as InvalidRecordError's
        self.kind = kind
        self.field = field
        self.task_id = task_id
        """The task that the call was about to create: it may exist all the same."""
        self.receipt = receipt
        """The order that was published; its answer is a refusal, or there was none in time."""

    @property
    def retry_after_s(self) -> float | None:
        """When to try again, seconds; None: not at all."""
        return RETRY_AFTER_S if self.kind is Kind.UNAVAILABLE else None


def unavailable(
    what: str, *, task_id: str | None = None, receipt: Receipt | None = None
) -> ApiError:
    """Kafka or Postgres does not answer, or nobody decided in time."""
    return ApiError("UNAVAILABLE", what, kind=Kind.UNAVAILABLE, task_id=task_id, receipt=receipt)


def replica_stopping(task_id: str) -> ApiError:
    """This process ends: a wait or a stream goes on at another replica, at once."""
    return ApiError(
        "REPLICA_STOPPING",
        "this replica stops: ask again, and another one goes on",
        kind=Kind.UNAVAILABLE,
        task_id=task_id,
    )


def not_found(task_id: str, reason: str | None = None) -> ApiError:
    """There is no such task of this tenant; ``reason`` is the code of a dead-lettered create."""
    # An odd id is quoted so that no terminal or log can trip over it.
    message = f"there is no task {task_id[:64]!a}"
    if reason is not None:
        return ApiError(reason, f"{message}: its creation was refused", kind=Kind.NOT_FOUND)
    return ApiError("TASK_NOT_FOUND", message, kind=Kind.NOT_FOUND)


def invalid(field: str, message: str) -> ApiError:
    """A field is wrong in itself."""
    return ApiError("FIELD_INVALID", f"{field}: {message}", field=field)


def refused_at_the_door(error: InvalidRecordError, *, prefix: str = "") -> ApiError:
    """What admission says of a task, with the field that it speaks of."""
    field = _FIELDS.get(error.code)
    if field is None or error.code in _SPOKEN:
        word = str(error).split(maxsplit=1)[0].strip(":,'\"") if str(error) else ""
        field = word if word in _NAMES else field or "input"
    name = prefix + ("request_id" if field == "idempotency_key" else field)
    return ApiError(error.code, str(error), field=name)


def refused_command(code: str, receipt: Receipt | None = None) -> ApiError:
    """A command that the task's owner refused."""
    message = _REFUSALS.get(code, "the task's owner refused")
    kind = Kind.INVALID if code in _WRONG_ARGUMENT else Kind.CONFLICT
    return ApiError(code, message, kind=kind, field=_WRONG_ARGUMENT.get(code), receipt=receipt)


_FIELDS: Mapping[str, str] = {
    "ID_KEY_MISMATCH": "request_id",
    "TASK_TYPE_UNKNOWN": "type",
    "PIPELINE_VERSION_UNKNOWN": "pipeline_version",
    "PRIORITY_OUT_OF_RANGE": "priority",
    "TIMEOUT_OUT_OF_RANGE": "timeout_ms",
    "INPUT_INCOMPLETE": "input",
    "INPUT_TOO_LARGE": "input",
}
# The message of these begins with the name of what they speak of.
_SPOKEN = frozenset({"INPUT_TOO_LARGE", "TIMEOUT_OUT_OF_RANGE"})
_NAMES = frozenset(
    {
        "input",
        "metadata",
        "conversation_id",
        "user_id",
        "task_id",
        "tenant_id",
        "idempotency_key",
        "timeout_ms",
        "deadline_at",
    }
)
_WRONG_ARGUMENT: Mapping[str, str] = {
    "PRIORITY_OUT_OF_RANGE": "priority",
    "STEP_UNKNOWN": "from_step",
}
_REFUSALS: Mapping[str, str] = {
    "TASK_NOT_PENDING": "only a pending task can be executed",
    "TASK_NOT_CANCELLABLE": "the task has ended",
    "TASK_ALREADY_ENDED": "the task has ended",
    "TASK_NOT_RETRIABLE": "only a failed or cancelled task can be retried",
    "STEP_UNKNOWN": "the pipeline has no such step, or a step before it has no result",
    "PRIORITY_OUT_OF_RANGE": "priority is not 0..10",
}
