"""Every HTTP operation: path, input and answers. The routes and OpenAPI are made from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api.access.caller import Caller
from orchestrator.api.access.rights import READ, READ_LETTERS, WRITE, WRITE_LETTERS, Need
from orchestrator.api.http.calls import Calls
from orchestrator.api.http.handlers import TASKS, After, ConversationPage, Handlers, MinSequence
from orchestrator.api.http.letters import LETTERS, LetterHandlers
from orchestrator.api.letters.requests import (
    CountLetters,
    DiscardLetter,
    EditLetter,
    ListLetters,
    ReplayLetters,
)
from orchestrator.api.letters.views import (
    EditAnswer,
    LetterDetail,
    LetterPage,
    LetterStats,
    LetterView,
    ReplayAnswer,
)
from orchestrator.api.tasks.explanation import ExplanationView
from orchestrator.api.tasks.requests import (
    BatchCreate,
    Cancel,
    CreateTask,
    Execute,
    ExecutePending,
    GetUsage,
    ListLogs,
    ListTasks,
    Retry,
    SetPriority,
)
from orchestrator.api.tasks.views.event import LogPage
from orchestrator.api.tasks.views.task import (
    BatchAnswer,
    ReleasedAnswer,
    TaskAnswer,
    TaskPage,
    TaskView,
)
from orchestrator.api.tasks.views.usage import UsageAnswer

Answers = Mapping[int, type[msgspec.Struct] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One row of the contract."""

    method: str
    path: str
    handler: Callable[[Any, Caller, Request], Awaitable[Response]]
    """A method of ``Handlers`` or ``LetterHandlers``."""
    need: Need
    """What the caller must have."""
    summary: str
    answers: Answers
    """The type of the body by status; None: without a body."""
    body: type[msgspec.Struct] | None = None
    body_optional: bool = False
    query: type[msgspec.Struct] | None = None
    headers: tuple[str, ...] = ()
    """Optional headers that the operation reads, besides the key."""
    refusals: frozenset[int] = field(default_factory=frozenset)
    """Statuses of problem documents, besides 400, 401, 403, 500 and 503."""
    streams: bool = False
    """True: can also answer with server-sent events."""

    @property
    def name(self) -> str:
        """The handler's name, which is the operation's id in OpenAPI."""
        return self.handler.__name__

    def bound(self, handlers: Iterable[Calls]) -> Callable[[Request], Awaitable[Response]]:
        """The handler, bound to the instance of its class."""
        [owner] = [
            each for each in handlers if getattr(type(each), self.name, None) is self.handler
        ]

        async def called(request: Request) -> Response:
            caller = await owner.admit(request, self.need)
            return await self.handler(owner, caller, request)

        return called


_TASK = f"{TASKS}/{{task_id}}"
_LETTER = f"{LETTERS}/{{letter_id}}"
_BODY = frozenset({413, 415})
_COMMAND = _BODY | {404, 409}

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="POST",
        path=TASKS,
        handler=Handlers.create,
        need=WRITE,
        summary="Create a task. Answered when the broker has it.",
        body=CreateTask,
        headers=("Idempotency-Key",),
        answers={201: TaskAnswer, 200: TaskAnswer},
        refusals=_BODY | {409},
    ),
    Operation(
        method="GET",
        path=TASKS,
        handler=Handlers.list_tasks,
        need=READ,
        summary="A page of tasks, newest first, or the queue of pending ones.",
        query=ListTasks,
        answers={200: TaskPage},
    ),
    Operation(
        method="POST",
        path=f"{TASKS}:batch",
        handler=Handlers.create_batch,
        need=WRITE,
        summary="Create up to 1,000 tasks; none if one is invalid.",
        body=BatchCreate,
        answers={201: BatchAnswer},
        refusals=_BODY | {409},
    ),
    Operation(
        method="POST",
        path=f"{TASKS}:execute",
        handler=Handlers.create_and_execute,
        need=WRITE,
        summary="Create a task and wait for its end (Prefer: wait=N), or stream it.",
        body=CreateTask,
        headers=("Idempotency-Key", "Prefer"),
        answers={200: TaskAnswer, 202: TaskAnswer},
        refusals=_BODY | {409},
        streams=True,
    ),
    Operation(
        method="POST",
        path=f"{TASKS}:executePending",
        handler=Handlers.execute_pending,
        need=WRITE,
        summary="Release held tasks: the most urgent first, then the oldest.",
        body=ExecutePending,
        body_optional=True,
        answers={200: ReleasedAnswer},
        refusals=_BODY,
    ),
    Operation(
        method="GET",
        path=f"{_TASK}:explain",
        handler=Handlers.explain,
        need=READ,
        summary="Why a task is where it is: for what it waits, and who is expected to move it.",
        answers={200: ExplanationView},
        refusals=frozenset({404}),
    ),
    Operation(
        method="GET",
        path=_TASK,
        handler=Handlers.get,
        need=READ,
        summary="A task with its steps.",
        query=MinSequence,
        answers={200: TaskView},
        refusals=frozenset({404}),
    ),
    Operation(
        method="GET",
        path="/api/v1/conversations/{conversation_id}/tasks",
        handler=Handlers.conversation,
        need=READ,
        summary="A page of a conversation's tasks, newest first.",
        query=ConversationPage,
        answers={200: TaskPage},
    ),
    Operation(
        method="POST",
        path=f"{_TASK}:execute",
        handler=Handlers.execute,
        need=WRITE,
        summary="Release a held task; Prefer: wait=N waits for its end.",
        body=Execute,
        body_optional=True,
        headers=("Prefer",),
        answers={200: TaskView, 202: TaskView},
        refusals=_COMMAND,
    ),
    Operation(
        method="POST",
        path=f"{_TASK}:cancel",
        handler=Handlers.cancel,
        need=WRITE,
        summary="End a task. Cancelling a cancelled one succeeds.",
        body=Cancel,
        body_optional=True,
        answers={200: TaskView},
        refusals=_COMMAND,
    ),
    Operation(
        method="POST",
        path=f"{_TASK}:retry",
        handler=Handlers.retry,
        need=WRITE,
        summary="Begin a new run of a task that failed or was cancelled.",
        body=Retry,
        body_optional=True,
        answers={200: TaskView},
        refusals=_COMMAND,
    ),
    Operation(
        method="POST",
        path=f"{_TASK}:setPriority",
        handler=Handlers.set_priority,
        need=WRITE,
        summary="Change the priority of a task that has not ended.",
        body=SetPriority,
        answers={200: TaskView},
        refusals=_COMMAND,
    ),
    Operation(
        method="GET",
        path=f"{_TASK}/events",
        handler=Handlers.events,
        need=READ,
        summary="The events of a task as they happen; resumes after Last-Event-ID.",
        query=After,
        headers=("Last-Event-ID",),
        answers={204: None},
        refusals=frozenset({404}),
        streams=True,
    ),
    Operation(
        method="GET",
        path=f"{_TASK}/logs",
        handler=Handlers.logs,
        need=READ,
        summary="A page of a task's audit trail.",
        query=ListLogs,
        answers={200: LogPage},
        refusals=frozenset({404}),
    ),
    Operation(
        method="GET",
        path="/api/v1/usage",
        handler=Handlers.usage,
        need=READ,
        summary="What tasks consumed, grouped by model, type, day or status.",
        query=GetUsage,
        answers={200: UsageAnswer},
    ),
    Operation(
        method="GET",
        path=LETTERS,
        handler=LetterHandlers.list_letters,
        need=READ_LETTERS,
        summary="A page of dead letters, newest first.",
        query=ListLetters,
        answers={200: LetterPage},
    ),
    Operation(
        method="GET",
        path=f"{LETTERS}/stats",
        handler=LetterHandlers.letter_stats,
        need=READ_LETTERS,
        summary="Counts of dead letters by topic, code, step, service, status or hour.",
        query=CountLetters,
        answers={200: LetterStats},
    ),
    Operation(
        method="GET",
        path=_LETTER,
        handler=LetterHandlers.get_letter,
        need=READ_LETTERS,
        summary="A dead letter: its record, what was done with it, what its task did.",
        answers={200: LetterDetail},
        refusals=frozenset({404}),
    ),
    Operation(
        method="POST",
        path=f"{LETTERS}:replay",
        handler=LetterHandlers.replay_letters,
        need=WRITE_LETTERS,
        summary="Send up to 1,000 dead letters back; a dry run unless dry_run is false.",
        body=ReplayLetters,
        answers={200: ReplayAnswer},
        refusals=_COMMAND,
    ),
    Operation(
        method="POST",
        path=f"{_LETTER}:edit",
        handler=LetterHandlers.edit_letter,
        need=WRITE_LETTERS,
        summary="Change the value that a replay will send; the letter keeps the original.",
        body=EditLetter,
        answers={200: EditAnswer},
        refusals=_BODY | {404},
    ),
    Operation(
        method="POST",
        path=f"{_LETTER}:discard",
        handler=LetterHandlers.discard_letter,
        need=WRITE_LETTERS,
        summary="Give a dead letter up. One that is resolved or discarded stays as it is.",
        body=DiscardLetter,
        answers={200: LetterView},
        refusals=_BODY | {404},
    ),
)
