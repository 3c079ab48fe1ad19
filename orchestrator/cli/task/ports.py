"""The two ways to tasks: through the service, or straight to Kafka and Postgres.

A command says what it wants in the words of this module, and prints what it gets; it does not
know which way was taken. Both ways raise the same errors.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
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
class TaskWish:
    """A task that somebody wants."""

    type: str
    input: Json
    priority: int
    conversation_id: str | None
    user_id: str | None
    metadata: Json
    hold: bool
    timeout_ms: int | None
    deadline_at: datetime | None
    key: str | None
    """The idempotency key."""
    tenant: str | None
    """Only on the direct way, as ``id``: the service knows the tenant, and makes the id."""
    id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The event that ended a task."""

    line: View
    output: Json | None
    error: tuple[str, str] | None
    """Code and message."""

    @property
    def status(self) -> str:
        """What the task ended as."""
        return str(self.line["status"])


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedTask:
    """A task that is created; where its record is, if one was published."""

    id: TaskId
    partition: int | None
    offset: int | None
    end: End | None
    """None: it was not waited for, or it has not ended in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandWish:
    """What somebody orders about a task."""

    kind: CommandKind
    task_id: TaskId
    tenant: str | None
    """Only on the direct way, as ``actor``: the service knows both."""
    actor: str | None
    reason: str | None
    priority: int | None = None
    from_step: str | None = None
    run: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedCommand:
    """An order that is published: it will be decided, whether its answer is known or not."""

    command_id: str
    topic: str
    partition: int
    offset: int
    answer: View | None
    """The event that it brought about, or that refuses it; None: there was none in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    """A page of tasks: newest first, or the queue."""

    which: TaskFilter
    queue: bool
    limit: int
    after: NewestCursor | QueueCursor | None


class Tasks(Protocol):
    """What can be done with tasks. Every method connects, asks, and disconnects."""

    async def create(self, wish: TaskWish, *, wait_s: float | None) -> CreatedTask:
        """Create a task, and with ``wait_s`` wait so long for its end.

        Raises:
            InvalidRecordError, AnswerError: it is refused, with the code that says why.
        """
        ...

    async def view(self, task_id: TaskId, *, timeout_s: float) -> View:
        """All that is known of a task; TaskUnknownError: nobody knows it."""
        ...

    def watch(self, task_id: TaskId, *, after: int, timeout_s: float) -> AsyncGenerator[View, None]:
        """Yield a task's events with a higher sequence, until it has ended.

        ``timeout_s`` bounds the reading of what happened before; what comes may take its time.
        """
        ...

    async def page(self, query: PageQuery) -> list[ListedTask]:
        """A page of tasks, from Postgres."""
        ...

    async def order(self, order: CommandWish, *, wait_s: float) -> PublishedCommand:
        """Give an order, and wait so long for its answer. A refusal is an answer."""
        ...
