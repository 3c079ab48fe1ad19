"""Every failure of a call as one class, with a subclass for each thing that a caller may do."""

from collections.abc import Mapping

import msgspec


class OrchestratorError(Exception):
    """A call that did not succeed.

    Attributes:
        code: stable; ``docs/errors.md`` of the orchestrator lists all of them. Read it, and
            never the message.
        status: the HTTP status; 0 without an answer.
        field: the wrong field of the request, if there is one.
        retry_after_s: how long to wait before the same call; None if it would not help.
        task_id: the task that the call was about to create, which may exist.
        key: the idempotency key of a create: repeat it with this key, and the task is done once.
        sent: False if nothing of the call can have reached the service.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 0,
        field: str | None = None,
        retry_after_s: float | None = None,
        task_id: str | None = None,
        sent: bool = True,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.status = status
        self.field = field
        self.retry_after_s = retry_after_s
        self.task_id = task_id
        self.key: str | None = None
        self.sent = sent


class RequestError(OrchestratorError):
    """The request is wrong: correct it (400, 405, 408, 413, 415, 431)."""


class AccessError(OrchestratorError):
    """The key is missing, unknown, or may not do this (401, 403)."""


class NotFoundError(OrchestratorError):
    """This tenant has no such task or dead letter (404)."""


class ConflictError(OrchestratorError):
    """The state of the task does not allow this, or the idempotency key has another task (409)."""


class LimitedError(OrchestratorError):
    """A limit of the key or the tenant is reached: do less, or the same later (429)."""


class UnavailableError(OrchestratorError):
    """No replica answered in time: try again later, a create with the same key (502 to 504)."""


class FaultError(OrchestratorError):
    """A fault of the service, or an answer that is not of this contract (500 and the rest)."""


class TaskFailedError(OrchestratorError):
    """The task failed or was cancelled; ``code`` is that of its error, or ``CANCELLED``."""


class _Field(msgspec.Struct):
    name: str = ""


class _Problem(msgspec.Struct):
    code: str = ""
    detail: str = ""
    errors: list[_Field] = []
    retry_after_s: float | None = None
    task_id: str | None = None


def refusal_of(status: int, headers: Mapping[str, str], content: bytes) -> OrchestratorError:
    """The error for a problem document (RFC 9457), or for what a proxy sends instead of one."""
    try:
        problem = msgspec.json.decode(content, type=_Problem)
    except (ValueError, RecursionError):
        problem = _Problem(detail="the answer is not a problem document")
    header = headers.get("retry-after", "")
    from_header = float(header) if header.isascii() and header.isdigit() else None
    return _class_of(status)(
        problem.code or f"HTTP_{status}",
        problem.detail,
        status=status,
        field=problem.errors[0].name if problem.errors else None,
        retry_after_s=problem.retry_after_s if problem.retry_after_s is not None else from_header,
        task_id=problem.task_id,
    )


def refusal_in_stream(content: bytes) -> OrchestratorError:
    """The error for a problem document inside of a stream, whose status came long before."""
    try:
        status = msgspec.json.decode(content, type=dict[str, object]).get("status")
    except (ValueError, RecursionError):
        status = None
    return refusal_of(status if isinstance(status, int) else 500, {}, content)


def _class_of(status: int) -> type[OrchestratorError]:
    match status:
        case 401 | 403:
            return AccessError
        case 404:
            return NotFoundError
        case 409:
            return ConflictError
        case 429:
            return LimitedError
        case 502 | 503 | 504:
            return UnavailableError
    return RequestError if 400 <= status < 500 else FaultError
