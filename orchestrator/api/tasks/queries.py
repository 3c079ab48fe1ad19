"""Use cases that read: get, wait, lists, audit trail, usage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import get_args

import msgspec
from msgspec import Raw

from orchestrator.api.access.caller import Caller
from orchestrator.api.errors import (
    ApiError,
    invalid,
    not_found,
    replica_stopping,
    unavailable,
)
from orchestrator.api.replica.live_task import AcceptedTask, Folded, LiveTask
from orchestrator.api.replica.parts import Parts
from orchestrator.api.tasks.errors import CreationRefusedError, TaskUnknownError
from orchestrator.api.tasks.finder import TaskFinder
from orchestrator.api.tasks.receipt import Receipt
from orchestrator.api.tasks.replica_source import ReplicaSource
from orchestrator.api.tasks.requests import GetUsage, ListLogs, ListTasks
from orchestrator.api.tasks.views.event import LogPage, last_life, log_view
from orchestrator.api.tasks.views.task import (
    TaskPage,
    TaskView,
    accepted_view,
    live_view,
    stored_view,
    summary,
)
from orchestrator.api.tasks.views.usage import UsageAnswer, UsageGroup
from orchestrator.api.tasks.views.view import Status
from schemas.limits import ID_PATTERN
from schemas.records import TaskEvent, TaskId
from sinks.attempt_fold import AttemptsFold
from sinks.errors import CursorError, SinkUnavailableError
from sinks.reads.paging import NewestCursor, QueueCursor, TaskFilter
from sinks.reads.stored import StoredStep, StoredTask
from sinks.reads.usage import DIMENSIONS, Dimension, UsageFilter
from streams.errors import KafkaUnavailableError

Found = LiveTask | AcceptedTask | StoredTask

_LOOK_AGAIN_S = 1.0
_STATUSES = frozenset(get_args(Status))


class TaskQueries:
    """Reads tasks of a caller's tenant. Memory first, then Postgres, then the ends of the logs."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.finder: TaskFinder[LiveTask] = TaskFinder(ReplicaSource(parts), parts.projection)

    async def get(self, caller: Caller, task_id: str, min_sequence: int = 0) -> TaskView:
        """A task.

        Raises:
            ApiError: NOT_FOUND, also for a task of another tenant; UNAVAILABLE if neither Kafka nor
                Postgres can answer, or ``min_sequence`` was not seen in time.
        """
        known = await self.find(caller, task_id)
        if min_sequence > _sequence(known):
            known = await self._reach(caller, task_id, min_sequence)
        return await self.view(known)

    async def wait(self, caller: Caller, task_id: str, timeout_s: float) -> TaskView:
        """A task after it has ended, or as it is after ``timeout_s`` (at most the longest wait).

        Raises:
            ApiError: as :meth:`find`; REPLICA_STOPPING: this process ends, ask another replica.
        """
        until = time.monotonic() + min(timeout_s, self._parts.settings.wait_max_s)
        with self._parts.live.subscribe(TaskId(task_id), chunks_max=1) as changes:
            while True:
                known = await self.find(caller, task_id)
                left_s = until - time.monotonic()
                if ended(known) or left_s <= 0:
                    return await self.view(known)
                if self._parts.closing.is_set():
                    raise replica_stopping(task_id)
                await changes.wait(min(left_s, _LOOK_AGAIN_S))

    async def read_back(self, created: Receipt | None, timeout_s: float) -> None:
        """Return when memory has a task that was just created, or after a short time.

        Whoever looks for the task at once would ask Postgres, and for the ends of the logs,
        because the record is not read yet.
        """
        if created is None:
            return
        limit_s = min(timeout_s, self._parts.settings.answer_timeout_s)
        with suppress(TimeoutError, KafkaUnavailableError):
            async with asyncio.timeout(limit_s):
                await self._parts.follower.read_up_to(
                    created.topic, created.partition, created.offset
                )

    async def find(self, caller: Caller, task_id: str) -> Found:
        """Find a task; raises as :meth:`get`.

        A task whose create was acknowledged is always found: before this method raises
        NOT_FOUND, it asks for the ends of the logs and reads up to them. A task of another tenant
        is looked for as if it did not exist, so that the time of the answer shows nothing either.
        """
        if not ID_PATTERN.fullmatch(task_id):
            raise ApiError("ID_INVALID", f"task_id: not {ID_PATTERN.pattern}", field="task_id")
        try:
            known = await self.finder.find(TaskId(task_id), caller.tenant_id)
        except CreationRefusedError as error:
            raise not_found(task_id, error.code) from None
        except TaskUnknownError:
            raise not_found(task_id) from None
        except KafkaUnavailableError as error:
            raise unavailable("the logs could not be read up to their ends") from error
        except SinkUnavailableError as error:
            raise unavailable(
                "Postgres does not answer or is behind, and the task is not live"
            ) from error
        return known

    async def find_decided(self, caller: Caller, task_id: str) -> Found:
        """As :meth:`find`, but only after its owner has decided about its creation.

        A command for a task whose creation is refused would become a dead letter of its own. If the
        owner does not decide in time, the task is returned as accepted.
        """
        until = time.monotonic() + self._parts.settings.answer_timeout_s
        with self._parts.live.subscribe(TaskId(task_id), chunks_max=1) as changes:
            while True:
                known = await self.find(caller, task_id)
                left_s = until - time.monotonic()
                if not isinstance(known, AcceptedTask) or left_s <= 0:
                    return known
                await changes.wait(min(left_s, _LOOK_AGAIN_S))

    async def view(self, known: Found) -> TaskView:
        """A task as callers see it.

        Raises:
            ApiError: WORK_LIMITED; a part of it is read from elsewhere, and the tenant has too many
                such reads.
        """
        match known:
            case AcceptedTask():
                return accepted_view(known.record())
            case StoredTask():
                return stored_view(known)
        folded = known.folded()
        if known.whole:
            return live_view(folded)
        async with self._parts.tenants.reads.of(known.tenant_id):
            return await self._completed_view(known, folded)

    async def list_tasks(self, caller: Caller, request: ListTasks) -> TaskPage:
        """A page of tasks, from Postgres: newest first, or the queue."""
        if request.status is not None and request.status not in _STATUSES:
            raise invalid("status", f"one of {', '.join(sorted(_STATUSES))}")
        which = TaskFilter(
            status=request.status,
            type=_storable(request.type, "type"),
            tenant_id=caller.tenant_id,
            conversation_id=_storable(request.conversation_id, "conversation_id"),
            since=_aware(request.since, "since"),
            until=_aware(request.until, "until"),
        )
        limit, token = request.page_size, request.page_token
        try:
            if request.order_by == "queue":
                async with self._parts.tenants.reads.of(caller.tenant_id):
                    return await self._queue(which, limit, token)
            if request.order_by not in ("", "newest"):
                raise invalid("order_by", "newest or queue")
            after = NewestCursor.parse(token) if token else None
            async with self._parts.tenants.reads.of(caller.tenant_id):
                rows = await self._parts.projection.newest(which, limit=limit + 1, after=after)
            more = str(NewestCursor.of(rows[limit - 1])) if len(rows) > limit else None
        except CursorError as error:
            raise ApiError(error.code, "page_token: not of this list", field="page_token") from None
        except SinkUnavailableError as error:
            raise unavailable("Postgres does not answer") from error
        return TaskPage(tasks=[summary(row) for row in rows[:limit]], next_page_token=more)

    async def logs(self, caller: Caller, task_id: str, request: ListLogs) -> LogPage:
        """A page of a task's audit trail, from Postgres, in its order."""
        await self.find(caller, task_id)
        if request.page_token and not request.page_token.isdecimal():
            raise ApiError("CURSOR_INVALID", "page_token: not of this list", field="page_token")
        after = int(request.page_token[:18] or 0)
        try:
            async with self._parts.tenants.reads.of(caller.tenant_id):
                rows = last_life(await self._parts.projection.logs(TaskId(task_id)))
        except SinkUnavailableError as error:
            raise unavailable("Postgres does not answer") from error
        rows = [row for row in rows if row.id > after and row.tenant_id == caller.tenant_id]
        page = rows[: request.page_size]
        more = str(page[-1].id) if len(rows) > len(page) else None
        return LogPage(logs=[log_view(row) for row in page], next_page_token=more)

    async def usage(self, caller: Caller, request: GetUsage) -> UsageAnswer:
        """What the tenant's tasks consumed, from Postgres."""
        by: list[Dimension] = [name for name in DIMENSIONS if name in request.by]
        if len(by) != len(set(request.by)) or "tenant" in by:
            raise invalid("by", "any of model, type, day, status")
        which = UsageFilter(
            by=tuple(by),
            tenant_id=caller.tenant_id,
            since=_aware(request.since, "since"),
            until=_aware(request.until, "until"),
        )
        try:
            async with self._parts.tenants.reads.of(caller.tenant_id):
                rows = await self._parts.projection.usage(which)
        except SinkUnavailableError as error:
            raise unavailable("Postgres does not answer") from error
        names = UsageGroup.__struct_fields__
        return UsageAnswer(
            groups=[UsageGroup(**{name: getattr(row, name) for name in names}) for row in rows]
        )

    async def _queue(self, which: TaskFilter, limit: int, token: str) -> TaskPage:
        if which.status not in (None, "pending") or which.conversation_id is not None:
            raise invalid("order_by", "the queue holds pending tasks of all conversations")
        after = QueueCursor.parse(token) if token else None
        rows = await self._parts.projection.queue(which, limit=limit + 1, after=after)
        more = str(QueueCursor.of(rows[limit - 1])) if len(rows) > limit else None
        return TaskPage(tasks=[summary(row) for row in rows[:limit]], next_page_token=more)

    async def _reach(self, caller: Caller, task_id: str, sequence: int) -> Found:
        until = time.monotonic() + self._parts.settings.answer_timeout_s
        with self._parts.live.subscribe(TaskId(task_id), chunks_max=1) as changes:
            while True:
                known = await self.find(caller, task_id)
                left_s = until - time.monotonic()
                if _sequence(known) >= sequence:
                    return known
                if left_s <= 0:
                    raise unavailable(f"sequence {sequence} was not seen in time")
                # A task that is not in memory causes no wake-up when it changes.
                pause_s = 0.1 if isinstance(known, StoredTask) else _LOOK_AGAIN_S
                await changes.wait(min(left_s, pause_s))

    async def _completed_view(self, known: LiveTask, folded: Folded) -> TaskView:
        """A task whose first events are not in memory: they are read from elsewhere."""
        task = folded.task
        try:
            row = await self._parts.projection.task(known.task_id)
            if row is not None and row.sequence >= known.sequence:
                return stored_view(row)
            steps: Sequence[StoredStep] = await self._parts.projection.steps(known.task_id)
            # A standby may be so far behind that it lacks attempts before those in memory.
            reaches = row is not None and row.sequence >= known.first_sequence - 1
            if reaches and not task.content_hash:
                return live_view(folded, steps)
        except SinkUnavailableError:
            pass
        return await self._scanned_view(known, folded)

    async def _scanned_view(self, known: LiveTask, folded: Folded) -> TaskView:
        try:
            events = await self._parts.log_scan.events(known.task_id, known.tenant_id)
        except KafkaUnavailableError:
            events = []
        earlier = [event for event in events if event.sequence < known.first_sequence]
        attempts = AttemptsFold()
        for event in [*earlier, *known.events(0)]:
            attempts.apply(event, 0)
        whole = live_view(Folded(folded.task, attempts.rows(), folded.failed_step))
        if not folded.task.content_hash:
            return whole
        return _with_documents(whole, earlier)


def ended(known: Found) -> bool:
    """True if only a retry can continue the task."""
    match known:
        case LiveTask():
            return known.ended
        case StoredTask():
            return known.completed_at is not None
    return False


def _with_documents(view: TaskView, events: Sequence[TaskEvent]) -> TaskView:
    """Restore the documents that the owner dropped when the task completed."""
    changes: dict[str, Raw] = {}
    for event in events:
        if event.task is not None:
            changes["input"] = Raw(event.task.input.encode())
            changes["metadata"] = Raw(event.task.metadata.encode())
        if event.output is not None:
            changes["output"] = Raw(event.output.encode())
    return msgspec.structs.replace(view, **changes)


def _sequence(known: Found) -> int:
    return 0 if isinstance(known, AcceptedTask) else known.sequence


def _storable(text: str | None, field: str) -> str | None:
    if text is not None and not ID_PATTERN.fullmatch(text):
        raise ApiError("ID_INVALID", f"{field}: not {ID_PATTERN.pattern}", field=field)
    return text


def _aware(time: datetime | None, field: str) -> datetime | None:
    if time is not None and time.tzinfo is None:
        raise invalid(field, "a time without a zone")
    return time
