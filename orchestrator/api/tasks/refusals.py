"""The refusals of creates and commands."""

from collections.abc import Mapping

from orchestrator.api.errors import ApiError, Kind
from orchestrator.api.tasks.receipt import Receipt
from schemas.errors import InvalidRecordError


class CommandError(ApiError):
    """A command that was published and, as far as is known, not carried out.

    ``receipt`` has its position and the answer that refuses it. Without an answer the command
    will still be decided: look at the task before you send it again.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        kind: Kind,
        field: str | None = None,
        receipt: Receipt | None,
    ) -> None:
        super().__init__(code, message, kind=kind, field=field)
        self.receipt = receipt


def refused_create(error: InvalidRecordError, *, prefix: str = "") -> ApiError:
    """The error of admission, with the field that it is about."""
    field = _FIELDS.get(error.code)
    if field is None or error.code in _SPOKEN:
        words = str(error).split(maxsplit=1)
        word = words[0].strip(":,'\"") if words else ""
        field = word if word in _NAMES else field or "input"
    name = prefix + ("request_id" if field == "idempotency_key" else field)
    return ApiError(error.code, str(error), field=name)


def refused_command(code: str, receipt: Receipt) -> CommandError:
    """A command that the task's owner refused."""
    message = _REFUSALS.get(code, "the task's owner refused")
    kind = Kind.INVALID if code in _WRONG_ARGUMENT else Kind.CONFLICT
    return CommandError(code, message, kind=kind, field=_WRONG_ARGUMENT.get(code), receipt=receipt)


def undecided_command(message: str, receipt: Receipt | None) -> CommandError:
    """A command that was published; its owner did not answer in time."""
    return CommandError("UNAVAILABLE", message, kind=Kind.UNAVAILABLE, receipt=receipt)


_FIELDS: Mapping[str, str] = {
    "ID_KEY_MISMATCH": "request_id",
    "ID_KEY_MISSING": "request_id",
    "TASK_TYPE_UNKNOWN": "type",
    "PIPELINE_VERSION_UNKNOWN": "pipeline_version",
    "PRIORITY_OUT_OF_RANGE": "priority",
    "TIMEOUT_OUT_OF_RANGE": "timeout_ms",
    "INPUT_INCOMPLETE": "input",
    "INPUT_TOO_LARGE": "input",
}
# The message of these codes begins with the name of the field.
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
        "reason",
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
