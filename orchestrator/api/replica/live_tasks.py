"""The tasks that a replica knows without a request to Kafka or Postgres. No I/O.

Fed by the follower. Bounded: running tasks are kept, ended ones until the sink has written them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping

import structlog

from orchestrator.api.replica.live_task import AcceptedTask, LiveTask
from orchestrator.api.replica.subscription import Subscription
from orchestrator.api.replica.tenant_load import TenantCounts
from schemas.codec import decode
from schemas.dead_letter import Origin
from schemas.errors import DecodeError, InvalidRecordError
from schemas.headers import header_text
from schemas.records import EventKind, StreamChunk, TaskCreated, TaskEvent, TaskId
from schemas.topics import Topics, dlq
from streams.history.acceptance import Ownership, accept
from streams.ownership.recovery import Recovery
from tasks.identity import check_owner_of_id

log = structlog.get_logger()

_ANSWERS_MAX = 20_000
_REFUSED_MAX = 10_000


class LiveTasks:
    """All running tasks, and the calls that wait for their changes."""

    def __init__(self, topics: Topics, *, ended_max: int) -> None:
        self._topics = topics
        self._ended_max = ended_max
        self._tasks: dict[TaskId, LiveTask] = {}
        self._accepted: dict[TaskId, AcceptedTask] = {}
        self._undecided: dict[int, deque[tuple[int, TaskId]]] = defaultdict(deque)
        self._ended: OrderedDict[TaskId, None] = OrderedDict()
        self._held: dict[str, set[TaskId]] = defaultdict(set)
        self._counts = TenantCounts()
        self._ownership: dict[int, Ownership | None] = {}
        self._decided: dict[int, int] = {}
        self._refused: OrderedDict[TaskId, tuple[str, str]] = OrderedDict()
        self._answers: OrderedDict[tuple[int, int], TaskEvent] = OrderedDict()
        self._awaited: dict[tuple[int, int], asyncio.Future[TaskEvent]] = {}
        self._subscriptions: dict[TaskId, set[Subscription]] = defaultdict(set)
        self._read: dict[int, int] = {}
        """By partition, the offset after the last event that was read."""
        self._written: dict[int, int] = {}
        """By partition, the highest offset up to which tasks were forgotten as written; never
        above what was read."""
        self._gone_back: set[int] = set()

    # --- queries ---

    def task(self, task_id: TaskId) -> LiveTask | None:
        """A task about which its owner has decided."""
        return self._tasks.get(task_id)

    def accepted(self, task_id: TaskId) -> AcceptedTask | None:
        """A task that the broker has and its owner has not decided yet."""
        return self._accepted.get(task_id)

    def refused(self, task_id: TaskId, tenant_id: str) -> str | None:
        """The code of a create of this tenant that became a dead letter."""
        code, tenant = self._refused.get(task_id, (None, ""))
        return code if tenant == tenant_id else None

    def held(self, tenant_id: str) -> list[LiveTask]:
        """The tenant's held tasks: the most urgent first, then the oldest."""
        found = [self._tasks[task_id] for task_id in self._held.get(tenant_id, ())]
        return sorted(found, key=lambda task: (-task.priority, task.created_at, task.task_id))

    def live_tasks(self, tenant_id: str) -> int:
        """The tenant's tasks that have not ended, also those that are not decided yet."""
        return self._counts.live_tasks(tenant_id)

    def held_bytes(self, tenant_id: str) -> int:
        """Bytes of input and metadata of the tenant's held tasks."""
        return self._counts.held_bytes(tenant_id)

    def undecided(self) -> bool:
        """True while memory holds tasks that their owners have not decided about."""
        return bool(self._accepted)

    def __len__(self) -> int:
        return len(self._tasks) + len(self._accepted)

    # --- input from the follower ---

    def begin(self, partition: int, recovery: Recovery, start: int) -> None:
        """Load what the owners left of a partition in ``task-state``; forget the earlier state.

        Events are then taken from the offset ``start`` on.
        """
        for task_id in [i for i, task in self._tasks.items() if task.partition == partition]:
            self._drop(task_id)
        for task_id in [i for i, known in self._accepted.items() if known.partition == partition]:
            self._not_accepted(task_id)
        self._undecided[partition].clear()
        self._read[partition] = start
        self._ownership[partition] = recovery.ownership
        self._decided[partition] = recovery.decided_created
        for task in recovery.tasks.values():
            live = LiveTask(partition, base=task)
            live.last_offset = start - 1
            self._keep(live)

    def take(self, records: Iterable[Origin]) -> None:
        """Take the next records of one partition of one topic."""
        topics = self._topics
        for record in records:
            if record.topic == topics.task_events:
                self._take_event(record)
                self._read[record.partition] = record.offset + 1
            elif record.topic == topics.task_created:
                self._take_created(record)
            elif record.topic == topics.stream:
                self._take_chunk(record)
            elif record.topic == dlq(topics.task_created):
                self._take_dead_letter(record)

    def written(self, next_offsets: Mapping[int, int]) -> None:
        """Forget ended tasks that the sink has written; given its next offset by partition."""
        self._gone_back = {
            partition
            for partition, seen in self._written.items()
            if next_offsets.get(partition, 0) < seen
        }
        for partition, offset in next_offsets.items():
            # A position above the log is of another database, and would never be reached again.
            offset = min(offset, self._read.get(partition, 0))
            self._written[partition] = max(offset, self._written.get(partition, 0))
        for task_id in list(self._ended):
            task = self._tasks[task_id]
            if task.last_offset < next_offsets.get(task.partition, 0):
                self._drop(task_id)

    def has_gone_back(self, partition: int) -> bool:
        """True if Postgres lacks events that it had when tasks were forgotten here.

        So it is after a restore of an older copy, and on a standby that is further behind than the
        one that answered before.
        """
        return partition in self._gone_back

    def committed(self, offsets: Mapping[int, int]) -> None:
        """Forget accepted tasks whose creates were ignored; given the commits by partition."""
        for partition, offset in offsets.items():
            self._decide_up_to(partition, offset - 1)

    # --- waiting ---

    async def answer(self, partition: int, offset: int) -> TaskEvent:
        """The event that decides the command at this position; unbounded."""
        place = (partition, offset)
        if (known := self._answers.get(place)) is not None:
            return known
        future = self._awaited.get(place)
        if future is None:
            future = self._awaited[place] = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.shield(future)
        finally:
            self._awaited.pop(place, None)

    def subscribe(self, task_id: TaskId, *, chunks_max: int) -> Subscription:
        """Subscribe to changes of a task, whether it is known or not. The caller closes it."""
        subscription = Subscription(chunks_max, lambda s: self._unsubscribe(task_id, s))
        self._subscriptions[task_id].add(subscription)
        return subscription

    def wake_all(self) -> None:
        """Wake all waiting calls so that they check again."""
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.wake()

    # --- records ---

    def _take_event(self, record: Origin) -> None:
        try:
            event = decode(record.value, TaskEvent)
        except DecodeError as error:
            log.warning("event_undecodable", offset=record.offset, code=error.code)
            return
        partition = record.partition
        accepted = accept(self._ownership.get(partition), event)
        if accepted is None:
            return
        self._ownership[partition] = accepted
        if event.kind is EventKind.OWNERSHIP_TAKEN or record.value is None:
            return
        self._apply(event, record.value, record)
        if event.cause_topic == self._topics.task_created:
            self._not_accepted(event.task_id)
            self._decide_up_to(partition, event.cause_offset)
        elif event.cause_topic == self._topics.task_commands:
            self._settle((event.cause_partition, event.cause_offset), event)

    def _apply(self, event: TaskEvent, value: bytes, record: Origin) -> None:
        task = self._tasks.get(event.task_id)
        next_one = task is not None and event.sequence == task.sequence + 1
        if event.kind is EventKind.CREATED or (event.task is not None and not next_one):
            # A new life, or a new run of a task that memory does not hold.
            if task is not None:
                self._drop(event.task_id)
            task = LiveTask(record.partition, begun=event)
        if task is not None:
            # An event that is not the next one is in the task's snapshot already; for a task
            # that is unknown, the sink has all earlier events.
            task.add(event, value)
            task.last_offset = record.offset
            self._keep(task)
        self._wake(event.task_id)

    def _take_created(self, record: Origin) -> None:
        if record.offset <= self._decided.get(record.partition, -1) or record.value is None:
            return
        try:
            created = decode(record.value, TaskCreated)
            # Its owner refuses it: it must not stand in the way of the tenant of the id.
            check_owner_of_id(created.task_id, created.tenant_id, created.idempotency_key)
        except (DecodeError, InvalidRecordError):
            return
        task_id = created.task_id
        if task_id not in self._tasks and task_id not in self._accepted:
            accepted = AcceptedTask(
                record.partition, record.offset, created.tenant_id, record.value
            )
            self._accepted[task_id] = accepted
            held_bytes = len(created.input) + len(created.metadata) if created.hold else 0
            self._counts.put(task_id, created.tenant_id, held_bytes=held_bytes)
            self._undecided[record.partition].append((record.offset, task_id))
            self._wake(task_id)

    def _take_dead_letter(self, record: Origin) -> None:
        code = header_text(record.headers, "__dlq.errors.code")
        offset = header_text(record.headers, "__dlq.errors.offset")
        if record.key is None or code is None or offset is None:
            return
        task_id = TaskId(record.key.decode(errors="replace"))
        accepted = self._accepted.get(task_id)
        if accepted is not None and str(accepted.offset) == offset:
            self._not_accepted(task_id)
        tenant_id = _tenant_of(record)
        if tenant_id is not None and task_id not in self._tasks and task_id not in self._accepted:
            self._refused[task_id] = (code, tenant_id)
            while len(self._refused) > _REFUSED_MAX:
                self._refused.popitem(last=False)
        self._wake(task_id)

    def _take_chunk(self, record: Origin) -> None:
        # Only for current watchers: old chunks cannot be requested.
        task_id = TaskId((record.key or b"").decode(errors="replace"))
        if not self._subscriptions.get(task_id):
            return
        try:
            chunk = decode(record.value, StreamChunk)
        except DecodeError:
            return
        for subscription in self._subscriptions[task_id]:
            subscription.push(chunk)

    # --- memory ---

    def _keep(self, task: LiveTask) -> None:
        task_id = task.task_id
        self._tasks[task_id] = task
        if task.held:
            self._held[task.tenant_id].add(task_id)
        else:
            self._not_held(task)
        if not task.ended:
            held_bytes = task.document_bytes if task.held else 0
            self._counts.put(task_id, task.tenant_id, held_bytes=held_bytes)
            self._ended.pop(task_id, None)
            return
        self._counts.drop(task_id)
        self._ended[task_id] = None
        while len(self._ended) > self._ended_max:
            self._drop(next(iter(self._ended)))

    def _drop(self, task_id: TaskId) -> None:
        task = self._tasks.pop(task_id)
        self._ended.pop(task_id, None)
        self._counts.drop(task_id)
        if (accepted := self._accepted.get(task_id)) is not None:
            # Its create is not decided yet: it counts until then.
            self._counts.put(task_id, accepted.tenant_id, held_bytes=0)
        self._not_held(task)

    def _not_accepted(self, task_id: TaskId) -> None:
        """Forget an accepted task; one that its owner has decided about stays counted."""
        if self._accepted.pop(task_id, None) is not None and task_id not in self._tasks:
            self._counts.drop(task_id)

    def _not_held(self, task: LiveTask) -> None:
        held = self._held.get(task.tenant_id)
        if held is not None:
            held.discard(task.task_id)
            if not held:
                del self._held[task.tenant_id]

    def _decide_up_to(self, partition: int, offset: int) -> None:
        """Creates are decided in order: an earlier one without an event was ignored."""
        if offset <= self._decided.get(partition, -1):
            return
        self._decided[partition] = offset
        undecided = self._undecided[partition]
        while undecided and undecided[0][0] <= offset:
            created_at, task_id = undecided.popleft()
            known = self._accepted.get(task_id)
            if known is not None and (known.partition, known.offset) == (partition, created_at):
                self._not_accepted(task_id)
                self._wake(task_id)

    # --- waiters ---

    def _settle(self, place: tuple[int, int], event: TaskEvent) -> None:
        future = self._awaited.get(place)
        if future is not None and not future.done():
            future.set_result(event)
        self._answers[place] = event
        while len(self._answers) > _ANSWERS_MAX:
            self._answers.popitem(last=False)

    def _wake(self, task_id: TaskId) -> None:
        for subscription in self._subscriptions.get(task_id, ()):
            subscription.wake()

    def _unsubscribe(self, task_id: TaskId, subscription: Subscription) -> None:
        subscriptions = self._subscriptions.get(task_id)
        if subscriptions is not None:
            subscriptions.discard(subscription)
            if not subscriptions:
                del self._subscriptions[task_id]


def _tenant_of(record: Origin) -> str | None:
    try:
        return decode(record.value, TaskCreated).tenant_id
    except DecodeError:
        return None
