"""A replica's memory, told records one by one. No servers."""

import asyncio

import msgspec

from orchestrator.api.replica.live_task import HISTORY_MAX, LiveTask
from orchestrator.api.replica.live_tasks import LiveTasks
from schemas.codec import encode
from schemas.dead_letter import Failure, FailureClass, Origin, Stage, dead_letter_headers
from schemas.records import (
    CommandKind,
    EventKind,
    Json,
    Millis,
    TaskCreated,
    TaskEvent,
    TaskId,
    TaskStatus,
)
from schemas.topics import Topics, dlq
from streams.history.acceptance import Ownership
from streams.ownership.recovery import Recovery
from tasks.identity import task_id_for
from tests.streams.ownership.test_recovery import a_marker, by
from tests.tasks.builders import RULES, TASK, Life, a_command, a_completed_life, a_life

TOPICS = Topics()
OWNER = Ownership(1, "a")


class Log:
    """Tells a memory what a broker would."""

    def __init__(self, ended_max: int = 100) -> None:
        self.live = LiveTasks(TOPICS, ended_max=ended_max)
        self.live.begin(0, a_recovery(), 0)
        self._ends: dict[str, int] = {}

    def tell(self, topic: str, value: bytes | None, key: str = "", **changes: object) -> Origin:
        offset = self._ends.get(topic, 0)
        self._ends[topic] = offset + 1
        record = Origin(
            topic=topic,
            partition=0,
            offset=offset,
            timestamp_ms=0,
            key=key.encode(),
            value=value,
            headers=changes.get("headers", ()),  # type: ignore[arg-type]
        )
        self.live.take([record])
        return record

    def event(self, event: TaskEvent) -> Origin:
        return self.tell(TOPICS.task_events, encode(event), event.task_id)

    def life(self, life: Life, owner: Ownership = OWNER) -> None:
        for event in by(owner.owner, owner.epoch, life.events):
            self.event(event)

    def created(self, task_id: TaskId = TASK) -> Origin:
        return self.tell(TOPICS.task_created, encode(a_task(task_id)), task_id)


def test_a_record_that_takes_the_id_of_another_tenants_key_is_no_accepted_task() -> None:
    log, mine = Log(), task_id_for("acme", "order 7")
    for tenant, key in (("evil", None), ("evil", "order 7"), ("acme", "order 7")):
        record = msgspec.structs.replace(a_task(mine), tenant_id=tenant, idempotency_key=key)
        log.tell(TOPICS.task_created, encode(record), mine)
    accepted = log.live.accepted(mine)

    assert accepted is not None
    assert (accepted.tenant_id, accepted.offset) == ("acme", 2)


def a_recovery() -> Recovery:
    return Recovery(
        pipelines=RULES.pipelines,
        committed={},
        created_topic=TOPICS.task_created,
        events_topic=TOPICS.task_events,
        state_topic=TOPICS.task_state,
        partitions=1,
    )


def a_task(task_id: TaskId) -> TaskCreated:
    return TaskCreated(
        task_id=task_id,
        tenant_id="acme",
        type="rag",
        input=Json('{"query": "why"}'),
        created_at=Millis(0),
    )


def known(log: Log) -> LiveTask:
    task = log.live.task(TASK)
    assert task is not None
    return task


def test_the_fold_of_what_memory_holds_is_the_owner_s_state() -> None:
    log, life = Log(), a_completed_life()
    log.event(a_marker(1, "a"))
    log.life(life)

    assert known(log).folded().task == life.task
    assert [event.sequence for event in known(log).events(1)] == [2, 3]


def test_what_a_former_owner_writes_after_its_successor_is_ignored() -> None:
    log, life = Log(), a_life()
    log.event(a_marker(1, "a"))
    log.life(life)
    before = known(log).sequence
    log.event(a_marker(2, "b"))
    life.succeeded()
    log.event(by("a", 1, life.events)[-1])
    ignored = known(log).sequence
    log.event(by("b", 2, life.events)[-1])

    assert ignored == before
    assert known(log).sequence == before + 1


def test_a_created_record_is_an_accepted_task_until_its_owner_decides() -> None:
    log, life = Log(), a_life()
    log.created()
    accepted = log.live.accepted(TASK)
    log.event(a_marker(1, "a"))
    log.life(life)

    assert accepted is not None
    assert accepted.record().tenant_id == "acme"
    assert known(log).status is TaskStatus.PENDING


def test_a_create_that_was_decided_to_nothing_is_no_task() -> None:
    log = Log()
    log.created(TaskId("first"))
    log.created(TaskId("second"))
    log.live.committed({0: 1})

    assert log.live.accepted(TaskId("first")) is None
    assert log.live.accepted(TaskId("second")) is not None


def test_a_dead_lettered_create_is_no_task_and_its_code_is_told_to_its_tenant_only() -> None:
    log = Log()
    origin = log.created()
    failure = Failure(
        stage=Stage.VALIDATE,
        failure_class=FailureClass.POISON,
        code="TASK_TYPE_UNKNOWN",
        message="",
    )
    headers = dead_letter_headers(origin, failure, group="router", now_ms=0)
    log.tell(dlq(TOPICS.task_created), origin.value, TASK, headers=tuple(headers))

    assert log.live.accepted(TASK) is None
    assert log.live.refused(TASK, "acme") == "TASK_TYPE_UNKNOWN"
    assert log.live.refused(TASK, "other") is None


def test_an_ended_task_stays_until_the_sink_has_written_it() -> None:
    log = Log()
    log.event(a_marker(1, "a"))
    log.life(a_completed_life())
    last = known(log).last_offset
    log.live.written({0: last})
    before = log.live.task(TASK)
    log.live.written({0: last + 1})

    assert before is not None
    assert log.live.task(TASK) is None


def test_a_projection_that_holds_less_than_before_has_gone_back_until_it_has_caught_up() -> None:
    live = Log().live
    for partition in (0, 1):
        live.begin(partition, a_recovery(), 8)
    seen = []
    for offsets in ({0: 7, 1: 7}, {0: 5, 1: 7}, {1: 8}, {0: 7, 1: 8}):
        live.written(offsets)
        seen.append((live.has_gone_back(0), live.has_gone_back(1)))

    assert seen == [(False, False), (True, False), (True, False), (False, False)]


def test_positions_above_what_was_read_are_not_missed_when_they_are_corrected() -> None:
    log = Log()
    log.event(a_marker(1, "a"))
    log.life(a_completed_life())
    read = known(log).last_offset + 1
    seen = []
    # The database of another system, which is corrected; then a copy that lacks an event of ours.
    for offset in (read + 1000, read, read - 1):
        log.live.written({0: offset})
        seen.append(log.live.has_gone_back(0))

    assert seen == [False, False, True]


def test_ended_tasks_are_bounded_and_running_ones_are_kept() -> None:
    log = Log(ended_max=0)
    log.event(a_marker(1, "a"))
    log.life(a_life())
    running = log.live.task(TASK)
    ended = Log(ended_max=0)
    ended.event(a_marker(1, "a"))
    ended.life(a_completed_life())

    assert running is not None
    assert ended.live.task(TASK) is None


def test_a_snapshot_is_a_beginning_and_what_it_holds_is_not_applied_again() -> None:
    life = a_life()
    life.started()
    snapshot = life.task
    life.succeeded()
    recovery = a_recovery()
    recovery.tasks[TASK] = snapshot
    recovery.ownership = OWNER
    log = Log()
    log.live.begin(0, recovery, 0)
    for event in by("a", 1, life.events[1:]):
        log.event(event)

    assert not known(log).whole
    assert known(log).folded().task == life.task


def test_a_long_history_is_left_to_postgres() -> None:
    life = a_life()
    task = LiveTask(0, begun=life.events[0])
    task.add(life.events[0], encode(life.events[0]))
    for sequence in range(2, HISTORY_MAX + 3):
        refused = msgspec.structs.replace(
            life.events[0], sequence=sequence, kind=EventKind.COMMAND_REFUSED, task=None
        )
        task.add(refused, encode(refused))

    assert not task.whole
    assert task.sequence == HISTORY_MAX + 2
    assert task.folded().task.sequence == HISTORY_MAX + 2
    assert len(task.values) < HISTORY_MAX


async def test_a_command_is_answered_by_the_event_that_names_it_early_or_late() -> None:
    log, life = Log(), a_life()
    log.event(a_marker(1, "a"))
    log.life(life)
    life.command(a_command(CommandKind.CANCEL))
    cancelled = msgspec.structs.replace(
        by("a", 1, life.events)[-1],
        cause_topic=TOPICS.task_commands,
        cause_partition=0,
        cause_offset=7,
    )
    waiting = asyncio.ensure_future(log.live.answer(0, 7))
    await asyncio.sleep(0)
    log.event(cancelled)

    assert (await waiting).sequence == cancelled.sequence
    assert (await log.live.answer(0, 7)).sequence == cancelled.sequence


def test_bytes_that_nobody_can_read_are_passed_over() -> None:
    log = Log()
    for topic in (TOPICS.task_events, TOPICS.task_created, TOPICS.stream):
        log.tell(topic, b"\x00junk", TASK)
        log.tell(topic, None, TASK)

    assert len(log.live) == 0
