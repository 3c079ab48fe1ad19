"""Tasks through the service: the default of ``orchestrator task``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import datetime

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from orchestrator.api.settings import ApiSettings, check_address
from orchestrator.api.tls.settings import ApiClientSettings
from orchestrator.cli.environment import command_settings
from orchestrator.cli.task.message import (
    end_of,
    explanation_of,
    has_ended,
    line_of,
    listed_of,
    published_of,
    status_number,
    view_of,
)
from orchestrator.cli.task.ports import (
    CommandRequest,
    CreatedTask,
    End,
    PageQuery,
    PublishedCommand,
    TaskRequest,
    View,
)
from orchestrator.cli.task.served_command import call_of
from orchestrator.cli.task.service_client import Service, asked_tenant, open_service
from orchestrator.cli.task.service_refusal import ServiceAwayError, ServiceRefusedError
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.json_text import check_text
from schemas.records import TaskId
from sinks.reads.stored import ListedTask

_CALL_S = 15.0
"""Limit of a call, besides the requested wait. The service itself gives up earlier."""
_SILENCE_S = 60.0
"""A stream sends a heartbeat every 15 s; a stream that is silent for this time is dead."""
_AGAIN_S = 0.5


class ServedTasks:
    """``Tasks`` through the service alone: needs neither Kafka nor Postgres."""

    def __init__(self, settings: ApiSettings, tls: ApiClientSettings | None = None) -> None:
        self._settings = settings
        self._tls = tls or ApiClientSettings()

    @classmethod
    def of_environment(cls, server: str | None) -> ServedTasks:
        """With the settings, and the address if given; BadParameter: the address is not one."""
        found = command_settings(find=server is None)
        settings = found.api
        if server is None:
            return cls(settings, found.api_client)
        try:
            return cls(replace(settings, server=check_address(server)), found.api_client)
        except ValueError as error:
            raise typer.BadParameter(f"--server: {error}") from None

    async def create(
        self,
        request: TaskRequest,
        *,
        wait_s: float | None,
        on_piece: Callable[[str], None] | None = None,
    ) -> CreatedTask:
        """Let the service check the task and publish it."""
        message = _create_message(request)
        async with open_service(self._settings, self._tls) as service:
            answer = await service.call("CreateTask", message, timeout_s=_CALL_S)
            task_id = TaskId(answer.task.id)
            end = None if wait_s is None else await self._end(service, task_id, wait_s, on_piece)
        receipt = answer.receipt if answer.HasField("receipt") else None
        return CreatedTask(
            id=task_id,
            partition=None if receipt is None else receipt.partition,
            offset=None if receipt is None else receipt.offset,
            end=end,
        )

    async def view(self, task_id: TaskId, *, timeout_s: float) -> View:
        """The task from the service's memory, from Postgres, or from the log."""
        request = pb.GetTaskRequest(task_id=task_id, with_history=True)
        async with open_service(self._settings, self._tls) as service:
            answer = await service.ask("GetTask", request, timeout_s=timeout_s)
        return view_of(answer.task, answer.history)

    async def explain(self, task_id: TaskId, *, timeout_s: float) -> View:
        """The service's explanation."""
        request = pb.ExplainTaskRequest(task_id=task_id)
        async with open_service(self._settings, self._tls) as service:
            return explanation_of(await service.ask("ExplainTask", request, timeout_s=timeout_s))

    async def watch(
        self, task_id: TaskId, *, after: int, timeout_s: float
    ) -> AsyncGenerator[View, None]:
        """Past events first, then new ones; ``timeout_s`` also limits an outage of the service."""
        async with open_service(self._settings, self._tls) as service:
            request = pb.GetTaskRequest(task_id=task_id)
            await service.ask("GetTask", request, timeout_s=timeout_s)
            async with aclosing(_events(service, task_id, after, timeout_s)) as events:
                async for event in events:
                    yield line_of(event)

    def asked_tenant(self, tenant: str | None) -> str | None:
        """The tenant of the key, or the one of callers without a key."""
        return asked_tenant(self._settings)

    async def page(self, query: PageQuery) -> list[ListedTask]:
        """A page from Postgres, through the service."""
        which = query.which
        request = pb.ListTasksRequest(
            status=status_number(which.status),
            type=which.type,
            conversation_id=which.conversation_id,
            since=_stamp(which.since),
            until=_stamp(which.until),
            order_by="queue" if query.queue else "newest",
            page_size=query.limit,
            page_token="" if query.after is None else str(query.after),
        )
        async with open_service(self._settings, self._tls) as service:
            answer = await service.ask("ListTasks", request, timeout_s=_CALL_S)
        return [listed_of(task) for task in answer.tasks]

    async def command(self, request: CommandRequest, *, wait_s: float) -> PublishedCommand:
        """Let the service publish the command and wait for its answer."""
        method, message = call_of(request, wait_s)
        async with open_service(self._settings, self._tls) as service:
            try:
                answer = await service.call(method, message, timeout_s=_CALL_S + wait_s)
            except ServiceRefusedError as error:
                if error.receipt is None:
                    raise
                return published_of(error.receipt)
        return published_of(answer.receipt)

    async def _end(
        self,
        service: Service,
        task_id: TaskId,
        wait_s: float,
        on_piece: Callable[[str], None] | None,
    ) -> End | None:
        """The event that ended a task; None if it did not end in time."""
        last: pb.TaskEvent | None = None
        try:
            async with (
                asyncio.timeout(wait_s),
                aclosing(_events(service, task_id, 0, wait_s, on_piece)) as events,
            ):
                async for event in events:
                    last = event
        except TimeoutError:
            return None
        return None if last is None else end_of(last)


async def _events(
    service: Service,
    task_id: TaskId,
    after: int,
    away_s: float,
    on_piece: Callable[[str], None] | None = None,
) -> AsyncGenerator[pb.TaskEvent, None]:
    """The events after a sequence until the task has ended, over one or more streams.

    ``on_piece`` gets the text of the answer's chunks, of which some may be left out.

    Raises:
        ServiceAwayError, ServiceRefusedError: at once if the first stream does not begin;
            later if the service has been down for ``away_s``.
    """
    heard_at, pause_s = time.monotonic(), 0.0
    while True:
        try:
            request = pb.WatchTaskRequest(task_id=task_id, after_sequence=after)
            stream = service.stream("WatchTask", request, silence_s=_SILENCE_S)
            async with aclosing(stream) as items:
                async for item in items:
                    heard_at, pause_s = time.monotonic(), 0.0
                    if item.HasField("event"):
                        yield item.event
                        after = item.event.sequence
                    elif item.HasField("chunk") and on_piece and item.chunk.kind == "text":
                        on_piece(item.chunk.data)
            if await _is_over(service, task_id, after):
                return
            heard_at = time.monotonic()
        except ServiceAwayError:
            if time.monotonic() - heard_at > away_s:
                raise
        # The replica stops, or is away. Another one goes on at once; if that one is silent, too,
        # or none answers, there is no hurry.
        with suppress(ServiceAwayError):
            await service.move_on()
        await asyncio.sleep(pause_s)
        pause_s = _AGAIN_S


async def _is_over(service: Service, task_id: TaskId, after: int) -> bool:
    """True if a stream ended because the task did, and not because a replica stopped."""
    request = pb.GetTaskRequest(task_id=task_id)
    task = (await service.ask("GetTask", request, timeout_s=_CALL_S)).task
    return has_ended(task) and task.sequence <= after


def _create_message(request: TaskRequest) -> pb.CreateTaskRequest:
    for what in ("type", "conversation_id", "user_id", "key", "input", "metadata"):
        # A message cannot even carry a value that is not text.
        check_text(getattr(request, what) or "", what)
    return pb.CreateTaskRequest(
        type=request.type,
        # An empty text would mean a default; this one is refused in the same way.
        input=request.input or " ",
        priority=request.priority,
        conversation_id=request.conversation_id,
        user_id=request.user_id,
        metadata=request.metadata or " ",
        hold=request.hold,
        timeout_ms=request.timeout_ms,
        deadline_at=_stamp(request.deadline_at),
        request_id=request.key,
    )


def _stamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
