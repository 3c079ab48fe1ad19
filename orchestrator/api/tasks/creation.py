"""Use cases that create tasks: one or many, with or without an idempotency key."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from orchestrator.api.access.caller import Caller
from orchestrator.api.errors import ApiError, Kind, invalid, unavailable
from orchestrator.api.replica.live_task import AcceptedTask, LiveTask
from orchestrator.api.replica.parts import Parts
from orchestrator.api.tasks.queries import Found, TaskQueries
from orchestrator.api.tasks.receipt import Answered, Receipt
from orchestrator.api.tasks.refusals import refused_create
from orchestrator.api.tasks.requests import BATCH_MAX, CreateTask
from orchestrator.api.tasks.views.task import accepted_view
from schemas.errors import InvalidRecordError
from schemas.json_text import check_text
from schemas.records import Json, Millis, TaskCreated, TaskId, TaskSpec
from schemas.uuid7 import new_task_id
from sinks.errors import SinkUnavailableError
from sinks.reads.stored import StoredTask
from streams.errors import KafkaUnavailableError
from tasks.deciding.admission import admit
from tasks.identity import task_id_for
from tasks.remember import content_hash

log = structlog.get_logger()

_AT_ONCE_BYTES = 64 * 1024
"""Documents that are checked without a break: some milliseconds."""
_TASK_BYTES = 1024
"""What the rest of a task counts."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TaskCreation:
    """Creates tasks of a caller's tenant. Returns when the broker has them."""

    def __init__(self, parts: Parts, queries: TaskQueries) -> None:
        self._parts = parts
        self._queries = queries

    async def create(self, caller: Caller, request: CreateTask) -> Answered:
        """Create a task, or find the task that the same key created.

        Raises:
            ApiError: INVALID with the code of admission and the field; IDEMPOTENCY_MISMATCH;
                PRIORITY_DENIED, TASKS_LIMITED, HELD_LIMITED: a limit of the tenant;
                UNAVAILABLE: it may have been created; with the key it is safe to repeat.
        """
        return (await self._create([self._record(caller, request)]))[0]

    async def create_batch(self, caller: Caller, requests: Sequence[CreateTask]) -> list[Answered]:
        """Create several tasks; all are checked before the first one is published.

        Raises as :meth:`create`; the field is ``tasks[<index>].<field>``.
        """
        if not 1 <= len(requests) <= BATCH_MAX:
            raise invalid("tasks", f"1 to {BATCH_MAX} of them")
        records, checked_bytes = [], 0
        for index, request in enumerate(requests):
            records.append(self._record(caller, request, f"tasks[{index}]."))
            checked_bytes += len(request.input) + len(request.metadata) + _TASK_BYTES
            if checked_bytes > _AT_ONCE_BYTES:
                checked_bytes = 0
                await asyncio.sleep(0)  # let other calls be answered, too
        return await self._create(records)

    def _record(self, caller: Caller, request: CreateTask, prefix: str = "") -> TaskCreated:
        now = self._parts.clock()
        self._parts.tenants.check_priority(caller.tenant_id, request.priority)
        try:
            record = TaskCreated(
                task_id=self._task_id(caller, request, now),
                tenant_id=caller.tenant_id,
                type=request.type,
                input=_document(request.input, "input"),
                priority=request.priority,
                conversation_id=request.conversation_id,
                user_id=request.user_id,
                metadata=_document(request.metadata, "metadata"),
                hold=request.hold,
                timeout_ms=request.timeout_ms,
                deadline_at=_millis(request.deadline_at, prefix),
                idempotency_key=request.request_id,
                pipeline_version=request.pipeline_version,
                created_at=now,
            )
            admit(record, rules=self._parts.rules, now=now)
        except InvalidRecordError as error:
            raise refused_create(error, prefix=prefix) from None
        return record

    def _task_id(self, caller: Caller, request: CreateTask, now: Millis) -> TaskId:
        if request.request_id is None:
            return new_task_id(now, self._parts.entropy(10))
        check_text(request.request_id, "idempotency_key")
        return task_id_for(caller.tenant_id, request.request_id)

    async def _create(self, records: Sequence[TaskCreated]) -> list[Answered]:
        answers: dict[int, Answered] = {}
        known = await self._known([r.task_id for r in records if r.idempotency_key is not None])
        for index, record in enumerate(records):
            if (found := known.get(record.task_id)) is not None:
                answers[index] = await self._replayed(record, found)
        new = [(index, r) for index, r in enumerate(records) if index not in answers]
        if new:
            self._parts.tenants.check_creates(records[0].tenant_id, [r for _, r in new])
        positions = await self._parts.producer.create([r for _, r in new]) if new else []
        for (index, record), (partition, offset) in zip(new, positions, strict=True):
            answers[index] = await self._answer(record, partition, offset)
        return [answers[index] for index in range(len(records))]

    async def _known(self, ids: Sequence[TaskId]) -> dict[TaskId, Found]:
        """The tasks that exist already.

        Old tasks are not found here while Postgres is down: their owner remembers them, and a
        second record changes nothing.
        """
        live, found = self._parts.live, dict[TaskId, Found]()
        for task_id in ids:
            if (task := live.task(task_id) or live.accepted(task_id)) is not None:
                found[task_id] = task
        elsewhere = [task_id for task_id in ids if task_id not in found]
        if elsewhere:
            try:
                found.update(await self._parts.projection.tasks(elsewhere))
            except SinkUnavailableError as error:
                log.warning("keys_not_looked_up", code=error.code, keys=len(elsewhere))
        return found

    async def _answer(self, record: TaskCreated, partition: int, offset: int) -> Answered:
        new = Answered(task=accepted_view(record), receipt=self._receipt(partition, offset))
        if record.idempotency_key is None or offset < 0:
            return new
        await self._read_back(record, partition, offset)
        live = self._parts.live
        known = live.task(record.task_id) or live.accepted(record.task_id)
        if known is None or _is_ours(known, offset):
            return new
        return await self._replayed(record, known)

    def _receipt(self, partition: int, offset: int) -> Receipt | None:
        topic = self._parts.topics.task_created
        return None if offset < 0 else Receipt(topic=topic, partition=partition, offset=offset)

    async def _read_back(self, record: TaskCreated, partition: int, offset: int) -> None:
        """Check which record of an id is first in the topic: the first one wins a race."""
        topic = self._parts.topics.task_created
        try:
            async with asyncio.timeout(self._parts.settings.answer_timeout_s):
                await self._parts.follower.read_up_to(topic, partition, offset)
        except (TimeoutError, KafkaUnavailableError) as error:
            message = "created, but not read back in time: repeat with the same key"
            raise unavailable(message, task_id=record.task_id) from error

    async def _replayed(self, record: TaskCreated, known: Found) -> Answered:
        # The answer is the same for a task of another tenant: it says nothing about that task.
        if known.tenant_id != record.tenant_id or not _same_content(record, known):
            raise ApiError(
                "IDEMPOTENCY_MISMATCH",
                "request_id: another task was created with this key",
                kind=Kind.EXISTS,
                field="request_id",
            )
        return Answered(task=await self._queries.view(known), replayed=True)


def _is_ours(known: Found, offset: int) -> bool:
    match known:
        case AcceptedTask():
            return known.offset == offset
        case LiveTask():
            return known.created_offset == offset
    return False


def _same_content(record: TaskCreated, known: Found) -> bool:
    """Whether two tasks request the same: type, input and metadata, as JSON values."""
    match known:
        case AcceptedTask():
            other: TaskCreated | StoredTask = known.record()
        case LiveTask():
            folded = known.folded().task
            if folded.content_hash:
                # Its documents are gone, but their hash was kept.
                return folded.content_hash == content_hash(_as_spec(record, folded.spec))
            return _asks(record) == (
                folded.spec.type,
                msgspec.json.decode(folded.spec.input),
                msgspec.json.decode(folded.spec.metadata),
            )
        case StoredTask():
            other = known
    return _asks(record) == _asks(other)


def _asks(task: TaskCreated | StoredTask) -> tuple[object, ...]:
    return (task.type, msgspec.json.decode(task.input), msgspec.json.decode(task.metadata))


def _as_spec(record: TaskCreated, spec: TaskSpec) -> TaskSpec:
    return msgspec.structs.replace(
        spec, type=record.type, input=record.input, metadata=record.metadata
    )


def _document(raw: msgspec.Raw, what: str) -> Json:
    try:
        return Json(bytes(raw).decode())
    except UnicodeDecodeError:
        raise InvalidRecordError("JSON_INVALID", f"{what} is not UTF-8") from None


def _millis(time: datetime | None, prefix: str) -> Millis | None:
    if time is None:
        return None
    if time.tzinfo is None:
        raise invalid(f"{prefix}deadline_at", "a time without a zone")
    return Millis((time - _EPOCH) // timedelta(milliseconds=1))
