"""``orchestrator.v1.Orchestrator``: a thin adapter from gRPC to the use cases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import grpc

from orchestrator.api.access.caller import Caller
from orchestrator.api.errors import ApiError, invalid
from orchestrator.api.grpc.calls import Context, Servicing, answering, streaming
from orchestrator.api.grpc.history import (
    execute_response,
    explanation_message,
    history_message,
    task_response,
)
from orchestrator.api.grpc.messages import (
    cancel_request,
    create_request,
    execute_request,
    list_request,
    list_response,
    logs_request,
    logs_response,
    pending_request,
    priority_request,
    retry_request,
    seconds,
    stream_message,
    task_message,
    usage_request,
    usage_response,
)
from orchestrator.api.grpc.unreadable import readable
from orchestrator.api.made_once import MadeOnce
from orchestrator.api.settings import ApiSettings
from orchestrator.api.use_cases import UseCases
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.gen.orchestrator.v1 import orchestrator_pb2_grpc as pb_grpc

_message_of = MadeOnce(stream_message)
# A caller whose deadline passes gets the error from its own library; this is for other calls.
_MARGIN_S = 0.05


class OrchestratorService(Servicing, pb_grpc.OrchestratorServicer):
    """The methods of ``orchestrator.proto``, which describes them."""

    name = pb.DESCRIPTOR.services_by_name["Orchestrator"].full_name

    def __init__(self, use_cases: UseCases, settings: ApiSettings) -> None:
        super().__init__(use_cases)
        self._settings = settings

    @answering
    async def CreateTask(
        self, caller: Caller, request: pb.CreateTaskRequest, context: Context
    ) -> pb.TaskResponse:
        """Create a task."""
        return task_response(await self._use.creation.create(caller, create_request(request)))

    @answering
    async def ExecuteTask(
        self, caller: Caller, request: pb.ExecuteTaskRequest, context: Context
    ) -> pb.ExecuteTaskResponse:
        """Release a held task, and wait if requested."""
        wanted = execute_request(request)
        within_s = seconds(request, "answer_within")
        wait_s = seconds(request, "wait")
        if wait_s is not None:
            # Before the command: who is refused has released nothing.
            asked_s = min(wait_s, self._patience(context))
            self._use.tenants.check_wait(caller.tenant_id, asked_s)
        answer = await self._use.commands.execute(caller, request.task_id, wanted, within_s)
        if wait_s is not None:
            wait_s = min(wait_s, self._patience(context))
            task = await self._use.wait(caller, request.task_id, wait_s)
            answer = replace(answer, task=task)
        return execute_response(answer)

    @answering
    async def GetTask(
        self, caller: Caller, request: pb.GetTaskRequest, context: Context
    ) -> pb.GetTaskResponse:
        """A task."""
        if request.with_history:
            found = await self._use.histories.history(caller, request.task_id, request.min_sequence)
            task, history = task_message(found.task), history_message(found)
            return pb.GetTaskResponse(task=task, history=history)
        view = await self._use.queries.get(caller, request.task_id, request.min_sequence)
        return pb.GetTaskResponse(task=task_message(view))

    @answering
    async def ExplainTask(
        self, caller: Caller, request: pb.ExplainTaskRequest, context: Context
    ) -> pb.ExplainTaskResponse:
        """Why a task is where it is."""
        return explanation_message(await self._use.explanations.explain(caller, request.task_id))

    @answering
    async def CancelTask(
        self, caller: Caller, request: pb.CancelTaskRequest, context: Context
    ) -> pb.TaskResponse:
        """End a task."""
        wanted = cancel_request(request)
        within_s = seconds(request, "answer_within")
        commands = self._use.commands
        return task_response(await commands.cancel(caller, request.task_id, wanted, within_s))

    @answering
    async def CreateAndExecuteTask(
        self, caller: Caller, request: pb.CreateTaskRequest, context: Context
    ) -> pb.ExecuteTaskResponse:
        """Create a task and wait for its end."""
        if request.hold:
            raise invalid("hold", "a task that waits for an execute would never end")
        # A caller with a deadline is cancelled at that time; the task goes on.
        wait_s = self._settings.wait_max_s
        created, task = await self._use.create_and_wait(caller, create_request(request), wait_s)
        return execute_response(replace(created, task=task))

    @answering
    async def ListTasks(
        self, caller: Caller, request: pb.ListTasksRequest, context: Context
    ) -> pb.ListTasksResponse:
        """A page of tasks."""
        return list_response(await self._use.queries.list_tasks(caller, list_request(request)))

    @answering
    async def BatchCreateTasks(
        self, caller: Caller, request: pb.BatchCreateTasksRequest, context: Context
    ) -> pb.BatchCreateTasksResponse:
        """Create many tasks."""
        requests = []
        for index, task in enumerate(request.tasks):
            try:
                requests.append(create_request(task))
            except ApiError as error:
                raise invalid(f"tasks[{index}].{error.field}", str(error)) from None
        answers = await self._use.creation.create_batch(caller, requests)
        return pb.BatchCreateTasksResponse(tasks=[task_response(answer) for answer in answers])

    @answering
    async def ExecutePendingTasks(
        self, caller: Caller, request: pb.ExecutePendingTasksRequest, context: Context
    ) -> pb.ExecutePendingTasksResponse:
        """Release held tasks."""
        ids = await self._use.commands.execute_pending(caller, pending_request(request))
        return pb.ExecutePendingTasksResponse(task_ids=ids)

    @answering
    async def SetTaskPriority(
        self, caller: Caller, request: pb.SetTaskPriorityRequest, context: Context
    ) -> pb.TaskResponse:
        """Change a priority."""
        wanted = priority_request(request)
        within_s = seconds(request, "answer_within")
        commands = self._use.commands
        return task_response(await commands.set_priority(caller, request.task_id, wanted, within_s))

    @answering
    async def RetryTask(
        self, caller: Caller, request: pb.RetryTaskRequest, context: Context
    ) -> pb.TaskResponse:
        """Begin a new run."""
        wanted, within_s = retry_request(request), seconds(request, "answer_within")
        commands = self._use.commands
        return task_response(await commands.retry(caller, request.task_id, wanted, within_s))

    @streaming
    async def WatchTask(
        self, caller: Caller, request: pb.WatchTaskRequest, context: Context
    ) -> AsyncGenerator[pb.WatchTaskResponse]:
        """The events of a task."""
        watching = self._use.watch.watch(caller, request.task_id, request.after_sequence)
        async with aclosing(watching) as items:
            async for item in items:
                yield _message_of(item)

    @answering
    async def WaitTask(
        self, caller: Caller, request: pb.WaitTaskRequest, context: Context
    ) -> pb.GetTaskResponse:
        """A task after it has ended."""
        wait_s = seconds(request, "timeout")
        patience_s = self._patience(context)
        wait_s = patience_s if wait_s is None else min(wait_s, patience_s)
        task = await self._use.wait(caller, request.task_id, wait_s)
        return pb.GetTaskResponse(task=task_message(task))

    @answering
    async def ListTaskLogs(
        self, caller: Caller, request: pb.ListTaskLogsRequest, context: Context
    ) -> pb.ListTaskLogsResponse:
        """A page of an audit trail."""
        page = logs_request(request)
        return logs_response(await self._use.queries.logs(caller, request.task_id, page))

    @answering
    async def GetUsage(
        self, caller: Caller, request: pb.GetUsageRequest, context: Context
    ) -> pb.GetUsageResponse:
        """Usage."""
        return usage_response(await self._use.queries.usage(caller, usage_request(request)))

    def _patience(self, context: Context) -> float:
        left_s = context.time_remaining()
        return self._settings.wait_max_s if left_s is None else max(0.0, left_s - _MARGIN_S)


def add_to(server: grpc.aio.Server, use_cases: UseCases, settings: ApiSettings) -> None:
    """Serve the use cases."""
    pb_grpc.add_OrchestratorServicer_to_server(
        OrchestratorService(use_cases, settings), readable(server)
    )


async def stop(server: grpc.aio.Server, grace_s: float) -> None:
    """Stop; running calls have ``grace_s`` to end."""
    async with asyncio.timeout(grace_s * 2):
        await server.stop(grace_s)
