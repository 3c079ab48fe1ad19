"""Use cases that send a command about a task: execute, cancel, retry, set priority."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from uuid import UUID

from orchestrator.api.access.caller import Caller
from orchestrator.api.errors import unavailable
from orchestrator.api.replica.live_task import LiveTask
from orchestrator.api.replica.parts import Parts
from orchestrator.api.tasks.queries import TaskQueries
from orchestrator.api.tasks.receipt import Answered, Receipt
from orchestrator.api.tasks.refusals import refused_command, refused_create, undecided_command
from orchestrator.api.tasks.requests import Cancel, Execute, ExecutePending, Retry, SetPriority
from orchestrator.api.tasks.views.event import event_view
from schemas.errors import InvalidRecordError
from schemas.json_text import check_text
from schemas.records import CommandKind, EventKind, TaskCommand, TaskEvent, TaskId
from sinks.reads.stored import StoredTask

_AS_WANTED = frozenset({"TASK_ALREADY_CANCELLED"})
"""Refusals that are reported as success: the task is already as the caller wants it."""


class TaskCommands:
    """Publishes commands and waits for the owner's answer in the log.

    The wait is at most ``answer_timeout_s`` (two seconds), or ``within_s``. Every method raises
    ``ApiError``: NOT_FOUND; the code of a refusal; UNAVAILABLE: no answer came in time, and the
    command may still be carried out. If the error has a receipt, the command is published and will
    be decided; STREAMS_LIMITED: a long ``within_s`` counts as a stream, nothing is published.
    """

    def __init__(self, parts: Parts, queries: TaskQueries) -> None:
        self._parts = parts
        self._queries = queries

    async def execute(
        self, caller: Caller, task_id: str, request: Execute, within_s: float | None = None
    ) -> Answered:
        """Release a held task."""
        wanted = _CommandRequest(kind=CommandKind.EXECUTE, reason=request.reason, within_s=within_s)
        return await self._send(caller, task_id, wanted)

    async def cancel(
        self, caller: Caller, task_id: str, request: Cancel, within_s: float | None = None
    ) -> Answered:
        """End a task; a cancelled task stays as it is."""
        wanted = _CommandRequest(kind=CommandKind.CANCEL, reason=request.reason, within_s=within_s)
        return await self._send(caller, task_id, wanted)

    async def set_priority(
        self, caller: Caller, task_id: str, request: SetPriority, within_s: float | None = None
    ) -> Answered:
        """Change the priority of a task that has not ended; PRIORITY_DENIED above the limit."""
        self._parts.tenants.check_priority(caller.tenant_id, request.priority)
        wanted = _CommandRequest(
            kind=CommandKind.SET_PRIORITY,
            reason=request.reason,
            priority=request.priority,
            within_s=within_s,
        )
        return await self._send(caller, task_id, wanted)

    async def retry(
        self, caller: Caller, task_id: str, request: Retry, within_s: float | None = None
    ) -> Answered:
        """Begin a new run of a task that failed or was cancelled."""
        wanted = _CommandRequest(
            kind=CommandKind.RETRY,
            reason=request.reason,
            from_step=request.from_step,
            run=request.run,
            within_s=within_s,
        )
        return await self._send(caller, task_id, wanted)

    async def execute_pending(self, caller: Caller, request: ExecutePending) -> list[str]:
        """Release held tasks, the most urgent first; return the released ones.

        A task that another caller released or ended meanwhile is left out.
        """
        held = [
            task
            for task in self._parts.live.held(caller.tenant_id)
            if request.type in (None, task.type)
        ][: request.limit]
        if not held:
            return []
        execute = _CommandRequest(kind=CommandKind.EXECUTE)
        commands = [self._command(caller, task.task_id, execute) for task in held]
        positions = await self._parts.producer.command(commands)
        waiting = (self._answer(position, execute) for position in positions)
        events = await asyncio.gather(*waiting)
        return [e.task_id for e in events if e.kind is EventKind.EXECUTE_REQUESTED]

    async def _send(self, caller: Caller, task_id: str, wanted: _CommandRequest) -> Answered:
        _check_reason(wanted.reason)
        with self._parts.tenants.wait(caller.tenant_id, wanted.within_s or 0.0):
            return await self._decided(caller, task_id, wanted)

    async def _decided(self, caller: Caller, task_id: str, wanted: _CommandRequest) -> Answered:
        known = await self._queries.find_decided(caller, task_id)
        if wanted.kind is CommandKind.RETRY and wanted.run is None:
            run = _run(known) if isinstance(known, LiveTask | StoredTask) else 1
            wanted = replace(wanted, run=run)
        command = self._command(caller, TaskId(task_id), wanted)
        [(partition, offset)] = await self._parts.producer.command([command])
        receipt = Receipt(
            topic=self._parts.topics.task_commands,
            partition=partition,
            offset=offset,
            command_id=command.command_id,
        )
        event = await self._answer((partition, offset), wanted, receipt)
        receipt, code = replace(receipt, answer=event_view(event)), event.reason or ""
        if event.kind is EventKind.COMMAND_REFUSED and code not in _AS_WANTED:
            raise refused_command(code, receipt)
        task = await self._queries.get(caller, task_id, min_sequence=event.sequence)
        return Answered(task=task, receipt=receipt)

    def _command(self, caller: Caller, task_id: TaskId, wanted: _CommandRequest) -> TaskCommand:
        return TaskCommand(
            command_id=str(UUID(bytes=self._parts.entropy(16), version=4)),
            task_id=task_id,
            tenant_id=caller.tenant_id,
            kind=wanted.kind,
            priority=wanted.priority,
            from_step=wanted.from_step,
            run=wanted.run,
            reason=wanted.reason,
            actor=caller.actor,
            issued_at=self._parts.clock(),
        )

    async def _answer(
        self, position: tuple[int, int], wanted: _CommandRequest, receipt: Receipt | None = None
    ) -> TaskEvent:
        """The event that decides the command at this position."""
        if position[1] < 0:
            raise unavailable("the broker did not tell where the command is: look at the task")
        settings = self._parts.settings
        within_s = settings.answer_timeout_s
        if wanted.within_s is not None:
            within_s = min(wanted.within_s, settings.wait_max_s)
        try:
            async with asyncio.timeout(within_s):
                return await self._parts.live.answer(*position)
        except TimeoutError as error:
            message = "the task's owner did not answer in time"
            raise undecided_command(message, receipt) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _CommandRequest:
    """A command, and how long to wait for its answer (None: ``answer_timeout_s``)."""

    kind: CommandKind
    reason: str | None = None
    priority: int | None = None
    from_step: str | None = None
    run: int | None = None
    within_s: float | None = None


def _run(known: LiveTask | StoredTask) -> int:
    return known.run if isinstance(known, StoredTask) else known.folded().task.run


def _check_reason(reason: str | None) -> None:
    if reason is not None:
        try:
            check_text(reason, "reason")
        except InvalidRecordError as error:
            raise refused_create(error) from None
