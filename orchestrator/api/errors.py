"""What a call can be refused with: one error, told by HTTP and gRPC in their own words."""

from enum import Enum

import msgspec

from schemas.errors import OrchestratorError


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
    ) -> None:
        super().__init__(message)
        self.code = code
        self.kind = kind
        self.field = field
        self.task_id = task_id
        """The task that the call was about to create: it may exist all the same."""

    @property
    def retry_after_s(self) -> float | None:
        """When to try again, seconds; None: not at all."""
        return RETRY_AFTER_S if self.kind is Kind.UNAVAILABLE else None


def unavailable(what: str, *, task_id: str | None = None) -> ApiError:
    """Kafka or Postgres does not answer, or a task's owner did not decide in time."""
    return ApiError("UNAVAILABLE", what, kind=Kind.UNAVAILABLE, task_id=task_id)


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


def from_validation(error: msgspec.ValidationError) -> ApiError:
    """A field of the wrong type or out of range; msgspec ends its message with the path."""
    message, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").removeprefix(".")
    if not field and "unknown field" in message:
        field = message.rsplit("`", 2)[1] if "`" in message else ""
    return invalid(field or "body", message[:300])
