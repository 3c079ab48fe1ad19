"""The use case that streams a task's events as they happen, without a gap or a repetition."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from orchestrator.api.access.caller import Caller
from orchestrator.api.errors import replica_stopping, unavailable
from orchestrator.api.made_once import MadeOnce
from orchestrator.api.replica.live_task import AcceptedTask, LiveTask
from orchestrator.api.replica.parts import Parts
from orchestrator.api.tasks.queries import TaskQueries, ended
from orchestrator.api.tasks.views.event import (
    EventView,
    HeartbeatView,
    LaggedView,
    StreamItem,
    chunk_view,
    event_view,
    last_life,
    stored_event,
)
from schemas.codec import decode
from schemas.records import TaskEvent, TaskId
from sinks.errors import SinkUnavailableError
from streams.errors import KafkaUnavailableError

_chunk_view = MadeOnce(chunk_view)
_view_of = MadeOnce[bytes, EventView](lambda value: event_view(decode(value, TaskEvent)))


class TaskWatch:
    """Streams tasks of a caller's tenant."""

    def __init__(self, parts: Parts, queries: TaskQueries) -> None:
        self._parts = parts
        self._queries = queries

    async def watch(self, caller: Caller, task_id: str, after: int) -> AsyncGenerator[StreamItem]:
        """Yield the events after a sequence, and chunks from now on.

        Ends after the event that ended the task. A slow caller misses no event: events are kept
        once for all readers.

        Raises:
            ApiError: NOT_FOUND, also later if the create turns out to be a dead letter;
                STREAMS_LIMITED: the tenant has too many streams; WORK_LIMITED: it reads too many
                histories; UNAVAILABLE: a part of the history cannot be read now;
                REPLICA_STOPPING: this process ends. The caller resumes on another replica, after
                the last sequence that it got.
        """
        known_id, settings = TaskId(task_id), self._parts.settings
        await self._queries.find(caller, task_id)
        with (
            self._parts.tenants.stream(caller.tenant_id),
            self._parts.live.subscribe(known_id, chunks_max=settings.chunks_max) as changes,
        ):
            seen, changed = max(after, 0), True
            while not self._parts.closing.is_set():
                chunks, left_out = changes.take()
                for chunk in chunks:
                    yield _chunk_view(chunk)
                if left_out:
                    yield LaggedView(task_id=task_id, chunks=left_out)
                if changed:
                    events, over = await self._look(caller, known_id, seen)
                    for event in events:
                        yield event
                        seen = event.sequence
                    if over:
                        return
                    if events:
                        continue  # there may be more by now
                woken = await changes.wait(settings.heartbeat_s)
                if not woken:
                    yield HeartbeatView(task_id=task_id)
                # Chunks alone say nothing new about the task.
                changed = changes.changed() or not woken
            raise replica_stopping(task_id)

    async def over(self, caller: Caller, task_id: str, after: int) -> bool:
        """True if a stream after this sequence would be empty; raises as :meth:`watch`."""
        self._parts.tenants.check_streams(caller.tenant_id)
        known = await self._queries.find(caller, task_id)
        if isinstance(known, AcceptedTask):
            return False
        return ended(known) and after >= known.sequence

    async def _look(
        self, caller: Caller, task_id: TaskId, seen: int
    ) -> tuple[Sequence[EventView], bool]:
        """The known events after ``seen``, and whether the task has ended with them."""
        known = await self._queries.find(caller, task_id)
        if isinstance(known, AcceptedTask):
            return [], False
        if not isinstance(known, LiveTask):
            over = known.completed_at is not None
            if seen >= known.sequence:
                return [], over
            return await self._history(caller, task_id, seen, known.sequence), over
        # Taken before the first await: the task may go on meanwhile.
        last, over = known.sequence, known.ended
        events = [_view_of(value) for value in known.values_after(seen)]
        if seen + 1 < known.first_sequence <= last + 1:
            upto = known.first_sequence - 1
            events = [*await self._history(caller, task_id, seen, upto), *events]
        return events, over

    async def _history(
        self, caller: Caller, task_id: TaskId, seen: int, upto: int
    ) -> list[EventView]:
        """The events ``seen + 1`` to ``upto``, from Postgres or otherwise from the log."""
        async with self._parts.tenants.reads.of(caller.tenant_id):
            return await self._read(caller, task_id, seen, upto)

    async def _read(self, caller: Caller, task_id: TaskId, seen: int, upto: int) -> list[EventView]:
        try:
            rows = last_life(await self._parts.projection.logs(task_id))
            stored = await self._parts.projection.task(task_id)
            output = None if stored is None else stored.output
            found = [stored_event(row, output) for row in rows]
        except SinkUnavailableError:
            found = []
        events = [event for event in found if seen < event.sequence <= upto]
        if len(events) < upto - seen:
            events = await self._scanned(caller, task_id, seen, upto)
        if [event.sequence for event in events] != list(range(seen + 1, upto + 1)):
            raise unavailable("a part of this task's history cannot be read now")
        return events

    async def _scanned(
        self, caller: Caller, task_id: TaskId, seen: int, upto: int
    ) -> list[EventView]:
        try:
            events = await self._parts.log_scan.events(task_id, caller.tenant_id)
        except KafkaUnavailableError as error:
            raise unavailable("a part of this task's history cannot be read now") from error
        return [event_view(event) for event in events if seen < event.sequence <= upto]
