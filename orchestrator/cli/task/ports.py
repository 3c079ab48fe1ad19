"""The two ways to tasks: through the service, or straight to Kafka and Postgres.

A command describes its request with the types of this module, and prints the result; it does not
depend on the way. Both ways raise the same errors.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Protocol

import typer

from schemas.records import CommandKind, Json, TaskId
from sinks.reads.paging import NewestCursor, QueueCursor, TaskFilter
from sinks.reads.stored import ListedTask

View = dict[str, Any]
"""A task or an event as a JSON document; ``docs/cli.md`` lists the names."""

ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="HOST:PORT",
        help="Where the service listens; by default ORCH_API_SERVER.",
    ),
]
DirectOption = Annotated[
    bool,
    typer.Option("--direct", help="Do without the service: through Kafka, its log and Postgres."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """A task to be created."""

    type: str
    input: Json
    priority: int
    conversation_id: str | None = None
    user_id: str | None = None
    metadata: Json
    hold: bool = False
    timeout_ms: int | None = None
    deadline_at: datetime | None = None
    key: str | None = None
    """The idempotency key."""
    tenant: str | None = None
    """Only for the direct way, as ``id``: the service knows the tenant, and makes the id."""
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The event that ended a task."""

    line: View
    output: Json | None
    error: tuple[str, str] | None
    """Code and message."""

    @property
    def status(self) -> str:
        """The final status of the task."""
        return str(self.line["status"])


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedTask:
    """A created task; the position of its record, if one was published."""

    id: TaskId
    partition: int | None
    offset: int | None
    end: End | None
    """None: the command did not wait for the end, or the end did not come in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRequest:
    """A command about a task."""

    kind: CommandKind
    task_id: TaskId
    tenant: str | None
    """Only for the direct way, as ``actor``: the service knows both."""
    actor: str | None
    reason: str | None
    priority: int | None = None
    from_step: str | None = None
    run: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedCommand:
    """A published command: it will be decided, whether its answer is known or not."""

    command_id: str
    topic: str
    partition: int
    offset: int
    answer: View | None
    """The event that it caused, or that refuses it; None: no answer came in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    """A page of tasks: newest first, or the queue."""

    which: TaskFilter
    queue: bool
    limit: int
    after: NewestCursor | QueueCursor | None


class Tasks(Protocol):
    """The operations on tasks. Every method connects, asks, and disconnects."""

    async def create(
        self,
        request: TaskRequest,
        *,
        wait_s: float | None,
        on_piece: Callable[[str], None] | None = None,
    ) -> CreatedTask:
        """Create a task; with ``wait_s`` wait at most that time for its end.

        ``on_piece`` gets the pieces of its answer as they are written, if the way has them.

        Raises:
            InvalidRecordError, AnswerError: it is refused, with the code of the reason.
        """
        ...

    async def view(self, task_id: TaskId, *, timeout_s: float) -> View:
        """The known facts about a task; TaskUnknownError if it is unknown."""
        ...

    async def explain(self, task_id: TaskId, *, timeout_s: float) -> View:
        """Why a task is where it is; TaskUnknownError if it is unknown."""
        ...

    def watch(self, task_id: TaskId, *, after: int, timeout_s: float) -> AsyncGenerator[View, None]:
        """Yield a task's events with a higher sequence, until it has ended.

        ``timeout_s`` limits the reading of past events; waiting for new ones has no limit.
        """
        ...

    def asked_tenant(self, tenant: str | None) -> str | None:
        """The tenant whose tasks a list shows, in words; None: those of all tenants.

        Args:
            tenant: the one that the list is restricted to, if the way allows it.
        """
        ...

    async def page(self, query: PageQuery) -> list[ListedTask]:
        """A page of tasks, from Postgres."""
        ...

    async def command(self, request: CommandRequest, *, wait_s: float) -> PublishedCommand:
        """Send a command, and wait at most ``wait_s`` for its answer. A refusal is an answer."""
        ...
