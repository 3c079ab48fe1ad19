"""The calls of the service as data: what both clients send, and how they read the answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

import msgspec

from ai_orchestrator.client.errors import FaultError, UnavailableError, refusal_of
from ai_orchestrator.client.views import (
    Created,
    DeadLetter,
    LetterDetail,
    LetterPage,
    Replayed,
    Task,
    TaskPage,
)

T = TypeVar("T")
_TASKS = "/api/v1/tasks"
_LETTERS = "/api/v1/dead-letters"


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """One call."""

    method: str
    path: str
    answer: type[T]
    body: bytes | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    """Whether the service does the same if it comes twice."""
    key: str | None = None

    def read(self, status: int, headers: Mapping[str, str], content: bytes) -> T:
        """The answer.

        Raises:
            OrchestratorError: a refusal, or bytes that are not an answer.
        """
        if not 200 <= status < 300:
            raise refusal_of(status, headers, content)
        try:
            return msgspec.json.decode(content, type=self.answer)
        except (ValueError, RecursionError) as error:
            if not {"content-length", "transfer-encoding"} & {*map(str.lower, headers)}:
                # Without a length nobody can tell a bad answer from the beginning of a good one.
                raise UnavailableError("API_UNAVAILABLE", "the answer is cut off") from None
            raise FaultError("ANSWER_INVALID", str(error)[:300], status=status) from None


def create(
    type: str,
    input: Any,
    *,
    key: str | None,
    conversation_id: str | None,
    user_id: str | None,
    metadata: Mapping[str, Any] | None,
    priority: int,
    hold: bool,
    timeout_s: float | None,
) -> Question[Created]:
    """Create a task; without a key it gets a new one, so that the call may be repeated."""
    key = key or str(uuid4())
    body = {
        "type": type,
        "input": {} if input is None else input,
        "priority": priority,
        "hold": hold,
        "conversation_id": conversation_id,
        "user_id": user_id,
        "metadata": metadata,
        "timeout_ms": None if timeout_s is None else round(timeout_s * 1000),
    }
    headers = {"idempotency-key": key}
    return Question("POST", _TASKS, Created, _body(body), headers=_json(headers), key=key)


def get(task_id: str, min_sequence: int = 0) -> Question[Task]:
    """A task."""
    query = {"min_sequence": str(min_sequence)} if min_sequence else {}
    return Question("GET", f"{_TASKS}/{_id(task_id)}", Task, query=query)


def cancel(task_id: str, reason: str | None) -> Question[Task]:
    """Cancel a task; to cancel a cancelled one succeeds."""
    path = f"{_TASKS}/{_id(task_id)}:cancel"
    return Question("POST", path, Task, _body({"reason": reason}), headers=_json())


def events_path(task_id: str) -> str:
    """Where the events of a task are streamed."""
    return f"{_TASKS}/{_id(task_id)}/events"


def list_tasks(token: str, **choice: str | int | datetime | None) -> Question[TaskPage]:
    """A page of tasks."""
    return Question("GET", _TASKS, TaskPage, query=_query(token, choice))


def list_letters(token: str, **choice: str | int | datetime | None) -> Question[LetterPage]:
    """A page of dead letters."""
    return Question("GET", _LETTERS, LetterPage, query=_query(token, choice))


def get_letter(letter_id: str) -> Question[LetterDetail]:
    """A dead letter."""
    return Question("GET", f"{_LETTERS}/{_id(letter_id)}", LetterDetail)


def replay_letters(ids: tuple[str, ...], reason: str, dry_run: bool) -> Question[Replayed]:
    """Send dead letters back, or say what that would do."""
    body = {"ids": ids, "reason": reason, "dry_run": dry_run}
    return Question(
        *("POST", f"{_LETTERS}:replay", Replayed, _body(body)),
        headers=_json(),
        repeatable=dry_run,
    )


def discard_letter(letter_id: str, reason: str) -> Question[DeadLetter]:
    """Give a dead letter up; one that is discarded stays so."""
    path = f"{_LETTERS}/{_id(letter_id)}:discard"
    return Question("POST", path, DeadLetter, _body({"reason": reason}), headers=_json())


def _id(value: str) -> str:
    return quote(value, safe="")


def _body(fields: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def _json(headers: Mapping[str, str] | None = None) -> Mapping[str, str]:
    return {"content-type": "application/json", **(headers or {})}


def _query(token: str, choice: Mapping[str, str | int | datetime | None]) -> dict[str, str]:
    given = {**choice, "page_token": token or None}
    return {
        name: value.isoformat() if isinstance(value, datetime) else str(value)
        for name, value in given.items()
        if value is not None
    }
