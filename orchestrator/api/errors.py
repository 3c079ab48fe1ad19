"""The refusals of calls: one error class, which HTTP and gRPC render in their own form."""

from enum import Enum

import msgspec

from schemas.errors import OrchestratorError


class Kind(Enum):
    """What the caller may do: each kind has one gRPC status and one HTTP status."""

    INVALID = "invalid"
    """Correct the request."""
    TOO_LARGE = "too_large"
    """Send less."""
    MEDIA_TYPE = "media_type"
    """Send another content type."""
    UNAUTHENTICATED = "unauthenticated"
    """Send a key."""
    DENIED = "denied"
    """Use another key, or come from elsewhere: this caller may not do this."""
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    """The task's state does not allow this."""
    EXISTS = "exists"
    """Use another key."""
    UNAVAILABLE = "unavailable"
    """Try again later."""
    LATE = "late"
    """Send the whole request in time."""
    LIMITED = "limited"
    """Do less, or the same later: a limit of the key or the tenant is reached."""
    INTERNAL = "internal"


RETRY_AFTER_S = 1.0


class ApiError(OrchestratorError):
    """A refusal. ``code`` is stable and in ``docs/errors.md``; ``field`` names the wrong field."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        kind: Kind = Kind.INVALID,
        field: str | None = None,
        task_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.kind = kind
        self.field = field
        self.task_id = task_id
        """The task that the call was about to create: it may have been created."""
        self.retry_after_s = retry_after_s
        """Seconds until the caller may try again; None: trying again does not help."""
        if retry_after_s is None and kind is Kind.UNAVAILABLE:
            self.retry_after_s = RETRY_AFTER_S


def unavailable(what: str, *, task_id: str | None = None) -> ApiError:
    """Kafka or Postgres does not answer, or a task's owner did not decide in time."""
    return ApiError("UNAVAILABLE", what, kind=Kind.UNAVAILABLE, task_id=task_id)


def replica_stopping(task_id: str) -> ApiError:
    """This process ends: a wait or a stream can continue at another replica, at once."""
    return ApiError(
        "REPLICA_STOPPING",
        "this replica stops: ask again, and another one goes on",
        kind=Kind.UNAVAILABLE,
        task_id=task_id,
    )


def not_found(task_id: str, reason: str | None = None) -> ApiError:
    """This tenant has no such task; ``reason`` is the code of a dead-lettered create."""
    # An odd id is escaped so that it cannot harm a terminal or a log.
    message = f"there is no task {task_id[:64]!a}"
    if reason is not None:
        return ApiError(reason, f"{message}: its creation was refused", kind=Kind.NOT_FOUND)
    return ApiError("TASK_NOT_FOUND", message, kind=Kind.NOT_FOUND)


def invalid(field: str, message: str) -> ApiError:
    """A field has an invalid value."""
    return ApiError("FIELD_INVALID", f"{field}: {message}", field=field)


def from_validation(error: msgspec.ValidationError) -> ApiError:
    """A field of the wrong type or out of range; msgspec ends its message with the path."""
    message, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").removeprefix(".")
    if not field and "unknown field" in message:
        field = message.rsplit("`", 2)[1] if "`" in message else ""
    return invalid(field or "body", message[:300])
