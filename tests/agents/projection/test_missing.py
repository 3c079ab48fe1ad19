"""What left the log before the sink wrote it is named by rebuild and verify, with exit status 1."""

import re

import pytest

from agents.projection.projector import Projector
from agents.projection.rebuild import rebuild, verify
from schemas.records import ResultKind, TaskId
from sinks.missing import Missing, TrimmedRange, gaps
from sinks.writer import Position
from streams.history.acceptance import Ownership
from streams.kafka.admin import Admin
from streams.kafka.publisher import Outgoing
from streams.ownership.ports import Snapshot, StateRecord
from streams.ownership.state_record import write_state
from tasks.task import Task
from tests.agents.projection.projecting import Sink, a_marker
from tests.agents.projection.test_rebuild import cut, events_of
from tests.agents.test_sink_command import run
from tests.sinks.building import ALog
from tests.streams.building import a_topic

LOST = [TaskId(f"lost{number:02}") for number in range(12)]


async def project(sink: Sink, end: int) -> None:
    """Let the sink write the log up to an offset."""
    await sink.commit(end)
    await Projector(0, sink.parts).open()


def a_state(sink: Sink, task_id: TaskId, task: Task | None, as_of: int) -> Outgoing:
    """A record of ``task-state``; without a task a tombstone."""
    content = Snapshot(task_id=task_id, task=task, as_of=as_of)
    by = Ownership(1, "an-owner")
    return write_state(sink.parts.topics.task_state, 0, StateRecord(content, by, 0))


@pytest.fixture
async def trimmed(sink: Sink) -> Sink:
    """A sink that wrote one task; then twelve were created, and left the log before it came back.

    One of them has a later event in the log; the routers still know all of them.
    """
    topic = sink.parts.topics.task_state
    async with Admin(sink.parts.kafka) as admin:
        await admin.apply([a_topic(topic, partitions=1)])
    log = ALog()
    log.create("kept")
    await sink.append([a_marker(), *events_of(log)])
    await project(sink, 2)
    for task_id in LOST:
        log.create(task_id)
    created = len(log.events) + 1
    log.report(ResultKind.STARTED, LOST[0])
    log.create("new")
    await sink.append(events_of(log)[1:])
    await cut(sink, created)
    await sink.publisher.publish(
        [
            a_state(sink, task_id, task, as_of)
            for task_id, task in log.states.items()
            # A snapshot of what the log still holds says nothing of what the sink has written.
            for as_of in [created if task_id in LOST else created + 2]
        ]
    )
    return sink


async def test_what_left_the_log_is_named_with_its_offsets_and_its_tasks(trimmed: Sink) -> None:
    before = await verify(trimmed.rebuilding)
    rebuilt = await rebuild(trimmed.rebuilding)
    after = await verify(trimmed.rebuilding)

    lost = Missing((TrimmedRange(0, 2, 14),), 12, tuple(LOST[:10]))
    assert before.missing == rebuilt.missing == lost
    assert rebuilt.missing.gaps[0].offsets == 12
    # The sink was put at the log's beginning; the tasks stay lost.
    assert after.missing == Missing((), 12, tuple(LOST[:10]))


async def test_the_commands_say_what_is_missing_and_exit_with_1(trimmed: Sink) -> None:
    rebuilt, verified = await run(trimmed, "rebuild"), await run(trimmed, "verify")

    assert (rebuilt.exit_code, verified.exit_code) == (1, 1)
    assert re.search(r"^missing: offsets 2 to 13 of task-events\[0\] \(12\)", rebuilt.stdout, re.M)
    for ended in (rebuilt, verified):
        assert "missing: 12 tasks have no row" in ended.stdout
        assert f"{LOST[0]} {LOST[1]}" in ended.stdout
        assert "and 2 more" in ended.stdout
    assert "agree" not in verified.stdout


async def test_a_task_that_is_remembered_and_has_its_row_is_not_missing(sink: Sink) -> None:
    topic = sink.parts.topics.task_state
    async with Admin(sink.parts.kafka) as admin:
        await admin.apply([a_topic(topic, partitions=1)])
    log = ALog()
    log.create("t1")
    await sink.append([a_marker(), *events_of(log)])
    await project(sink, 2)
    [state] = log.states.values()
    await sink.publisher.publish(
        [
            a_state(sink, TaskId("t1"), state, 2),
            # Forgotten since.
            a_state(sink, LOST[0], state, 2),
            a_state(sink, LOST[0], None, 2),
        ]
    )
    ended = await run(sink, "verify")

    assert ended.exit_code == 0
    assert ended.stdout.endswith("rows and log agree\n")


async def test_a_month_that_retention_dropped_is_not_missing(trimmed: Sink) -> None:
    await rebuild(trimmed.rebuilding)
    await trimmed.execute("DELETE FROM ai_orchestrator.tasks")
    await trimmed.execute("DROP TABLE ai_orchestrator.tasks_y2025m10")

    assert not (await verify(trimmed.rebuilding)).missing


def test_a_partition_that_was_never_written_has_no_gap() -> None:
    starts = {0: Position(5, 0, ""), 1: Position(5, 0, ""), 2: Position(5, 0, "")}
    sink = {1: Position(5, 1, "a"), 2: Position(3, 1, "a"), 7: Position(1, 1, "a")}

    assert gaps(sink, starts) == (TrimmedRange(2, 3, 5),)
