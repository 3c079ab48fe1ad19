"""Use cases that order something about a task: execute, cancel, retry, set priority."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

from orchestrator.api.access import Caller
from orchestrator.api.errors import refused_at_the_door, refused_command, unavailable
from orchestrator.api.live_task import LiveTask
from orchestrator.api.parts import Parts
from orchestrator.api.reading import Reading
from orchestrator.api.requests import Cancel, ExecutePending, Retry, SetPriority
from orchestrator.api.views import TaskView
from schemas.errors import InvalidRecordError
from schemas.json_text import check_text
from schemas.records import CommandKind, EventKind, TaskCommand, TaskEvent, TaskId
from sinks.stored import StoredTask

_AS_WANTED = frozenset({"TASK_ALREADY_CANCELLED"})
"""Refusals that leave the task as the caller wants it."""


class Commanding:
    """Publishes commands and waits for their owner's answer in the log, at most two seconds.

    Every method raises ``ApiError``: NOT_FOUND; the code of a refusal; UNAVAILABLE: nobody
    answered in time, and the command may still be carried out.
    """

    def __init__(self, parts: Parts, reading: Reading) -> None:
        self._parts = parts
        self._reading = reading

    async def execute(self, caller: Caller, task_id: str) -> TaskView:
        """Release a held task."""
        return await self._order(caller, task_id, CommandKind.EXECUTE)

    async def cancel(self, caller: Caller, task_id: str, request: Cancel) -> TaskView:
        """End a task; one that is cancelled stays so."""
        _check_reason(request.reason)
        return await self._order(caller, task_id, CommandKind.CANCEL, reason=request.reason)

    async def set_priority(self, caller: Caller, task_id: str, request: SetPriority) -> TaskView:
        """Change the priority of a task that has not ended."""
        return await self._order(
            caller, task_id, CommandKind.SET_PRIORITY, priority=request.priority
        )

    async def retry(self, caller: Caller, task_id: str, request: Retry) -> TaskView:
        """Begin a new run of a task that failed or was cancelled."""
        _check_reason(request.reason)
        return await self._order(
            caller,
            task_id,
            CommandKind.RETRY,
            from_step=request.from_step,
            reason=request.reason,
        )

    async def execute_pending(self, caller: Caller, request: ExecutePending) -> list[str]:
        """Release held tasks, the most urgent first; return those that were released.

        One that somebody else released or ended meanwhile is left out.
        """
        held = [
            task
            for task in self._parts.live.held(caller.tenant_id)
            if request.type in (None, task.type)
        ][: request.limit]
        if not held:
            return []
        commands = [self._command(caller, t.task_id, CommandKind.EXECUTE) for t in held]
        events = await self._answers(await self._parts.door.command(commands))
        return [e.task_id for e in events if e.kind is EventKind.EXECUTE_REQUESTED]

    async def _order(
        self,
        caller: Caller,
        task_id: str,
        kind: CommandKind,
        *,
        priority: int | None = None,
        from_step: str | None = None,
        reason: str | None = None,
    ) -> TaskView:
        known = await self._reading.find(caller, task_id)
        run = None
        if kind is CommandKind.RETRY:
            run = _run(known) if isinstance(known, LiveTask | StoredTask) else 1
        command = self._command(
            caller,
            TaskId(task_id),
            kind,
            priority=priority,
            from_step=from_step,
            reason=reason,
            run=run,
        )
        [event] = await self._answers(await self._parts.door.command([command]))
        code = event.reason or ""
        if event.kind is EventKind.COMMAND_REFUSED and code not in _AS_WANTED:
            raise refused_command(code)
        return await self._reading.get(caller, task_id, min_sequence=event.sequence)

    def _command(
        self,
        caller: Caller,
        task_id: TaskId,
        kind: CommandKind,
        *,
        priority: int | None = None,
        from_step: str | None = None,
        reason: str | None = None,
        run: int | None = None,
    ) -> TaskCommand:
        return TaskCommand(
            command_id=str(UUID(bytes=self._parts.entropy(16), version=4)),
            task_id=task_id,
            tenant_id=caller.tenant_id,
            kind=kind,
            priority=priority,
            from_step=from_step,
            run=run,
            reason=reason,
            actor=caller.actor,
            issued_at=self._parts.clock(),
        )

    async def _answers(self, positions: Sequence[tuple[int, int]]) -> list[TaskEvent]:
        """The events that decide the commands at these positions, in their order."""
        if any(offset < 0 for _, offset in positions):
            raise unavailable("the broker did not tell where the command is: look at the task")
        try:
            async with asyncio.timeout(self._parts.settings.answer_timeout_s):
                return await asyncio.gather(*(self._parts.live.answer(*p) for p in positions))
        except TimeoutError as error:
            raise unavailable("the task's owner did not answer in time") from error


def _run(known: LiveTask | StoredTask) -> int:
    return known.run if isinstance(known, StoredTask) else known.folded().task.run


def _check_reason(reason: str | None) -> None:
    if reason is not None:
        try:
            check_text(reason, "reason")
        except InvalidRecordError as error:
            raise refused_at_the_door(error) from None
