"""Tasks without the service: requests go to Kafka, the answers come from the log."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from orchestrator.api.grpc.history import explanation_message
from orchestrator.api.tasks.explain import explain
from orchestrator.cli.arguments import default_actor, millis
from orchestrator.cli.running import kafka_settings, open_reader, postgres_settings
from orchestrator.cli.task.find import open_finder
from orchestrator.cli.task.message import explanation_of
from orchestrator.cli.task.ports import (
    CommandRequest,
    CreatedTask,
    End,
    PageQuery,
    PublishedCommand,
    TaskRequest,
    View,
)
from orchestrator.cli.task.producer import open_producer
from orchestrator.cli.task.view import event_line, view_of_history
from orchestrator.layout import rules_of
from orchestrator.pipelines import installed_pipelines
from orchestrator.settings import Settings
from schemas.records import Millis, TaskCommand, TaskCreated, TaskEvent, TaskId
from schemas.uuid7 import new_task_id
from sinks.reads.paging import NewestCursor, QueueCursor
from sinks.reads.stored import ListedTask
from streams.clock import now_ms
from streams.history.task_log import ended
from tasks.deciding.admission import admit
from tasks.identity import task_id_for

_TENANT = "default"
_READ_S = 60.0
"""Limit for looking a task up before a command."""


class DirectTasks:
    """``Tasks`` through Kafka and, for lists and old tasks, Postgres."""

    async def create(
        self,
        request: TaskRequest,
        *,
        wait_s: float | None,
        on_piece: Callable[[str], None] | None = None,
    ) -> CreatedTask:
        """Check the task as its owner will; publish it only if it is accepted."""
        settings, now = kafka_settings(), now_ms()
        record = _record(request, now)
        admit(record, rules=rules_of(settings, installed_pipelines(settings.pipelines)), now=now)
        async with open_producer(settings) as producer:
            sent = await producer.create(record)
            end = None if wait_s is None else await producer.end(sent, record, wait_s=wait_s)
        return CreatedTask(
            id=record.task_id,
            partition=sent.partition,
            offset=sent.offset,
            end=None if end is None else _end(end),
        )

    async def view(self, task_id: TaskId, *, timeout_s: float) -> View:
        """The task from the log, from Postgres, or from task-created."""
        async with open_finder(kafka_settings(), timeout_s=timeout_s) as finder:
            return view_of_history(await finder.history(task_id))

    async def explain(self, task_id: TaskId, *, timeout_s: float) -> View:
        """The same explanation, from the log and from Kafka's groups."""
        settings = kafka_settings()
        async with open_finder(settings, timeout_s=timeout_s) as finder:
            history = await finder.history(task_id)
        return explanation_of(explanation_message(await explain(settings, history)))

    async def watch(
        self, task_id: TaskId, *, after: int, timeout_s: float
    ) -> AsyncGenerator[View, None]:
        """Past events first, then new ones."""
        settings = kafka_settings()
        async with open_finder(settings, timeout_s=timeout_s) as finder:
            read = await finder.source.life(task_id)
            timeline = [event_line(seen.event) for seen in read.life]
            if not timeline:
                # Gone from the log, or not decided yet; or unknown, which raises.
                timeline = view_of_history(await finder.history(task_id))["timeline"]
        for line in timeline:
            if line["sequence"] > after:
                yield line
        if timeline and (not read.life or ended(read.life)):
            return
        async with (
            open_finder(settings, timeout_s=None) as finder,
            aclosing(finder.source.log.follow(read)) as events,
        ):
            async for seen in events:
                if seen.event.sequence > after:
                    yield event_line(seen.event)
                if ended(read.life):
                    return

    def asked_tenant(self, tenant: str | None) -> str | None:
        """The given tenant alone, or all of them."""
        return None if tenant is None else f"the tenant {tenant}"

    async def page(self, query: PageQuery) -> list[ListedTask]:
        """A page from Postgres alone."""
        async with open_reader(postgres_settings()) as reader:
            if query.queue:
                assert not isinstance(query.after, NewestCursor)
                return await reader.list_queue(query.which, limit=query.limit, after=query.after)
            assert not isinstance(query.after, QueueCursor)
            return await reader.list_tasks(query.which, limit=query.limit, after=query.after)

    async def command(self, request: CommandRequest, *, wait_s: float) -> PublishedCommand:
        """Publish the command in the name of the task's tenant, and wait for its answer."""
        settings = kafka_settings()
        command = TaskCommand(
            command_id=str(uuid.uuid4()),
            task_id=request.task_id,
            tenant_id=await _tenant(settings, request),
            kind=request.kind,
            priority=request.priority,
            from_step=request.from_step,
            run=request.run,
            reason=request.reason,
            actor=request.actor or default_actor(),
            issued_at=now_ms(),
        )
        async with open_producer(settings) as producer:
            sent = await producer.command(command)
            answer = await producer.answer(sent, command, wait_s=wait_s)
        return PublishedCommand(
            command_id=command.command_id,
            topic=sent.topic,
            partition=sent.partition,
            offset=sent.offset,
            answer=None if answer is None else event_line(answer),
        )


def _record(request: TaskRequest, now: Millis) -> TaskCreated:
    tenant = _TENANT if request.tenant is None else request.tenant
    return TaskCreated(
        task_id=_id(request, tenant, now),
        tenant_id=tenant,
        type=request.type,
        input=request.input,
        priority=request.priority,
        conversation_id=request.conversation_id,
        user_id=request.user_id,
        metadata=request.metadata,
        hold=request.hold,
        timeout_ms=request.timeout_ms,
        deadline_at=None if request.deadline_at is None else millis(request.deadline_at),
        idempotency_key=request.key,
        created_at=now,
    )


def _id(request: TaskRequest, tenant: str, now: Millis) -> TaskId:
    if request.id is not None:
        return TaskId(request.id)
    if request.key is None:
        return new_task_id(now, os.urandom(10))
    try:
        return task_id_for(tenant, request.key)
    except UnicodeEncodeError:
        # Admission will report what is wrong with the key; any id is good enough for that.
        return TaskId(f"task_{uuid.uuid4()}")


def _end(event: TaskEvent) -> End:
    error = None if event.error is None else (event.error.code, event.error.message)
    return End(line=event_line(event), output=event.output, error=error)


async def _tenant(settings: Settings, request: CommandRequest) -> str:
    """The tenant of the task; CreationRefusedError: its creation was refused."""
    async with open_finder(settings, timeout_s=_READ_S) as finder:
        if request.tenant is None:
            return await finder.tenant(request.task_id)
        await finder.check_not_refused(request.task_id)
        return request.tenant
