"""The paths under ``/api/v1``: a thin adapter from HTTP to the use cases."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api.access.caller import Caller
from orchestrator.api.errors import ApiError, invalid
from orchestrator.api.http.body import prefer_wait, read_query
from orchestrator.api.http.calls import Calls, json_response
from orchestrator.api.http.stream import SSE_TYPE, EventStream
from orchestrator.api.tasks.receipt import Answered
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
from orchestrator.api.tasks.requests import (
    Request as Asked,
)
from orchestrator.api.tasks.views.event import StreamItem
from orchestrator.api.tasks.views.task import BatchAnswer, ReleasedAnswer, TaskAnswer, TaskView

TASKS = "/api/v1/tasks"


class MinSequence(Asked, frozen=True, kw_only=True):
    """The query of a get."""

    min_sequence: int = 0


class After(Asked, frozen=True, kw_only=True):
    """The query of a stream."""

    after: int = 0


class ConversationPage(Asked, frozen=True, kw_only=True):
    """The query of a conversation's tasks."""

    page_size: int = 100
    page_token: str = ""


class Handlers(Calls):
    """One method for each operation about tasks of ``contract.py``."""

    async def create(self, caller: Caller, request: Request) -> Response:
        """Create a task."""
        answer = await self._use.creation.create(caller, await self._create_request(request))
        return _created(answer)

    async def create_batch(self, caller: Caller, request: Request) -> Response:
        """Create many tasks."""
        batch = await self._body(request, BatchCreate)
        answers = await self._use.creation.create_batch(caller, batch.tasks)
        return json_response(
            BatchAnswer(tasks=[_task_answer(answer) for answer in answers]), status=201
        )

    async def create_and_execute(self, caller: Caller, request: Request) -> Response:
        """Create a task and wait for its end, or stream it."""
        wanted = await self._create_request(request)
        if wanted.hold:
            raise invalid("hold", "a task that waits for an execute would never end")
        if SSE_TYPE in request.headers.get("accept", ""):
            self._use.tenants.check_streams(caller.tenant_id)
            answer = await self._use.creation.create(caller, wanted)
            location = {"Location": f"{TASKS}/{answer.task.id}"}
            return self._stream(caller, self._use.watch.watch(caller, answer.task.id, 0), location)
        asked_s = prefer_wait(request.headers)
        wait_s = self._settings.wait_default_s if asked_s is None else asked_s
        answer, task = await self._use.create_and_wait(caller, wanted, wait_s)
        location = {"Location": f"{TASKS}/{answer.task.id}"}
        if asked_s is not None:
            location["Preference-Applied"] = f"wait={int(asked_s)}"
        waited = TaskAnswer(task=task, replayed=answer.replayed)
        return json_response(waited, status=_status_of(task), headers=location)

    async def execute_pending(self, caller: Caller, request: Request) -> Response:
        """Release held tasks."""
        wanted = await self._body(request, ExecutePending, optional=True)
        ids = await self._use.commands.execute_pending(caller, wanted)
        return json_response(ReleasedAnswer(task_ids=ids))

    async def get(self, caller: Caller, request: Request) -> Response:
        """A task."""
        wanted = read_query(request, MinSequence)
        return json_response(await self._use.queries.get(caller, _id(request), wanted.min_sequence))

    async def explain(self, caller: Caller, request: Request) -> Response:
        """Why a task is where it is."""
        return json_response(await self._use.explanations.explain(caller, _id(request)))

    async def list_tasks(self, caller: Caller, request: Request) -> Response:
        """A page of tasks."""
        return json_response(
            await self._use.queries.list_tasks(caller, read_query(request, ListTasks))
        )

    async def conversation(self, caller: Caller, request: Request) -> Response:
        """A page of a conversation's tasks."""
        page = read_query(request, ConversationPage)
        wanted = msgspec.convert(
            {
                "conversation_id": request.path_params["conversation_id"],
                "page_size": max(1, min(page.page_size, 1_000)),
                "page_token": page.page_token,
            },
            ListTasks,
        )
        return json_response(await self._use.queries.list_tasks(caller, wanted))

    async def execute(self, caller: Caller, request: Request) -> Response:
        """Release a held task."""
        wanted = await self._body(request, Execute, optional=True)
        wait_s = prefer_wait(request.headers)
        if wait_s is not None:
            # Before the command: who is refused has released nothing.
            self._use.tenants.check_wait(caller.tenant_id, wait_s)
        task = (await self._use.commands.execute(caller, _id(request), wanted)).task
        if wait_s is not None:
            task = await self._use.wait(caller, _id(request), wait_s)
            headers = {"Preference-Applied": f"wait={int(wait_s)}"}
            return json_response(task, status=_status_of(task), headers=headers)
        return json_response(task)

    async def cancel(self, caller: Caller, request: Request) -> Response:
        """End a task."""
        wanted = await self._body(request, Cancel, optional=True)
        return json_response((await self._use.commands.cancel(caller, _id(request), wanted)).task)

    async def retry(self, caller: Caller, request: Request) -> Response:
        """Begin a new run."""
        wanted = await self._body(request, Retry, optional=True)
        return json_response((await self._use.commands.retry(caller, _id(request), wanted)).task)

    async def set_priority(self, caller: Caller, request: Request) -> Response:
        """Change a priority."""
        wanted = await self._body(request, SetPriority)
        return json_response(
            (await self._use.commands.set_priority(caller, _id(request), wanted)).task
        )

    async def events(self, caller: Caller, request: Request) -> Response:
        """The events of a task, as they happen."""
        after = read_query(request, After).after
        last = request.headers.get("last-event-id", "").strip()
        if last:
            if not (last.isascii() and last.isdecimal()):
                raise invalid("Last-Event-ID", "no sequence")
            after = int(last[:18])
        if await self._use.watch.over(caller, _id(request), after):
            # EventSource reconnects after every end; only this status stops it.
            return Response(status_code=204)
        return self._stream(caller, self._use.watch.watch(caller, _id(request), after))

    async def logs(self, caller: Caller, request: Request) -> Response:
        """A page of an audit trail."""
        wanted = read_query(request, ListLogs)
        return json_response(await self._use.queries.logs(caller, _id(request), wanted))

    async def usage(self, caller: Caller, request: Request) -> Response:
        """Usage by groups."""
        wanted = read_query(request, GetUsage, lists=frozenset({"by"}))
        return json_response(await self._use.queries.usage(caller, wanted))

    async def _create_request(self, request: Request) -> CreateTask:
        wanted = await self._body(request, CreateTask)
        key = request.headers.get("idempotency-key")
        if key is None:
            return wanted
        if wanted.request_id not in (None, key):
            raise invalid("request_id", "another one than in the header Idempotency-Key")
        return msgspec.structs.replace(wanted, request_id=key)

    def _stream(
        self,
        caller: Caller,
        items: AsyncGenerator[StreamItem],
        headers: dict[str, str] | None = None,
    ) -> Response:
        timeout_s = self._settings.send_timeout_s
        allowed = self._use.access.while_allowed(caller, items)
        return EventStream(allowed, send_timeout_s=timeout_s, headers=headers)


def _id(request: Request) -> str:
    task_id = request.path_params["task_id"]
    if not isinstance(task_id, str):
        raise ApiError("ID_INVALID", "task_id: no text", field="task_id")
    return task_id


def _task_answer(answer: Answered) -> TaskAnswer:
    return TaskAnswer(task=answer.task, replayed=answer.replayed)


def _created(answer: Answered) -> Response:
    headers = {"Location": f"{TASKS}/{answer.task.id}"}
    if answer.replayed:
        headers["Idempotency-Replayed"] = "true"
    status = 200 if answer.replayed else 201
    return json_response(_task_answer(answer), status=status, headers=headers)


def _status_of(task: TaskView) -> int:
    """The HTTP status of an answer; 202: the task goes on, ask again."""
    return 200 if task.completed_at is not None else 202
