"""Rebuild and verify, on a real log and a real database."""

import asyncio

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from agents.projection.projector import Projector
from agents.projection.rebuild import rebuild, verify
from schemas.records import CommandKind, ResultKind, TaskEvent
from sinks.errors import RebuildRunsError, SinkPositionError
from sinks.table_set import open_table_set
from tests.agents.projection.projecting import Sink, a_marker, running
from tests.sinks.building import AWAY, ALog

WAIT_S = 60.0


def a_log() -> ALog:
    """Tasks in every state, with retries, refusals, and an id that is used again."""
    log = ALog()
    for name in ("done", "waiting", "failed", "again", "cancelled", "reborn"):
        log.create(name)
    log.run_to_the_end("done")
    log.command(CommandKind.CANCEL, "done")
    log.report(ResultKind.FAILED, "failed")
    log.report(ResultKind.FAILED, "again", AWAY)
    log.report(ResultKind.FAILED, "again")
    log.command(CommandKind.RETRY, "again", run=1)
    log.run_to_the_end("again")
    log.command(CommandKind.CANCEL, "cancelled")
    log.run_to_the_end("reborn")
    log.forget("reborn")
    log.create("reborn", given='{"query":"another"}')
    log.report(ResultKind.STARTED, "reborn")
    return log


def events_of(log: ALog) -> list[TaskEvent]:
    return [logged.event for logged in log.events]


async def project(sink: Sink) -> None:
    """Let the sink write all that is in the log."""
    await sink.commit(10_000)
    async with asyncio.timeout(WAIT_S):
        projector = Projector(0, sink.parts)
        await projector.open()


async def cut(sink: Sink, before: int) -> None:
    """Let retention delete the beginning of the log."""
    admin = AIOKafkaAdminClient(bootstrap_servers=sink.parts.kafka.servers)
    await admin.start()
    tp = TopicPartition(sink.parts.topics.task_events, 0)
    await admin.delete_records({tp: RecordsToDelete(before_offset=before)})
    await admin.close()


@pytest.fixture
async def written(sink: Sink) -> Sink:
    """A sink that has written a log."""
    events = [a_marker(), *events_of(a_log())]
    await sink.append(events)
    await sink.commit(len(events))
    await Projector(0, sink.parts).open()
    return sink


CORRUPTIONS = {
    "a wrong column": "UPDATE ai_orchestrator.tasks SET status = 'failed' WHERE id = 'done'",
    "a lost task": "DELETE FROM ai_orchestrator.tasks WHERE id = 'again'",
    "a lost attempt": "DELETE FROM ai_orchestrator.task_steps WHERE task_id = 'again' AND run = 1",
    "a wrong trail": "UPDATE ai_orchestrator.task_execution_logs SET actor = 'eve'"
    " WHERE task_id = 'cancelled'",
    "a lost trail": "DELETE FROM ai_orchestrator.task_execution_logs WHERE task_id = 'waiting'",
    "a former life": "INSERT INTO ai_orchestrator.tasks (id, type, status, phase, priority,"
    " tenant_id, input, steps, metadata, created_at, updated_at, deadline_at, pipeline,"
    " pipeline_version, run, sequence, event_partition, event_offset)"
    " SELECT id, type, status, phase, priority, tenant_id, input, steps, metadata,"
    " created_at - interval '1 second', updated_at, deadline_at, pipeline, pipeline_version, run,"
    " sequence, event_partition, event_offset FROM ai_orchestrator.tasks WHERE id = 'reborn'",
}


@pytest.mark.parametrize("corruption", CORRUPTIONS)
async def test_verify_finds_what_is_not_as_the_log_says_and_a_rebuild_mends_it(
    written: Sink, corruption: str
) -> None:
    right = await verify(written.rebuilding)
    await written.execute(CORRUPTIONS[corruption])
    wrong = await verify(written.rebuilding)
    await rebuild(written.rebuilding)
    mended = await verify(written.rebuilding)

    assert (right.differences, right.tasks) == (0, 6)
    assert wrong.differences == len(wrong.listed) > 0
    assert wrong.hash != right.hash
    assert (mended.differences, mended.hash) == (0, right.hash)


async def test_verify_says_how_many_records_the_sink_has_not_written(written: Sink) -> None:
    assert (await verify(written.rebuilding)).unwritten == 0
    written_events = len(events_of(a_log())) + 1
    log = a_log()
    log.create("new")
    later = events_of(log)[written_events - 1 :]
    await written.append(later)
    behind = await verify(written.rebuilding)
    await written.commit(written_events + len(later))
    await Projector(0, written.parts).open()

    assert (behind.unwritten, behind.differences) == (len(later), 0)
    assert (await verify(written.rebuilding)).unwritten == 0


async def test_a_row_from_nowhere_is_reported(written: Sink) -> None:
    await written.execute("UPDATE ai_orchestrator.tasks SET id = 'phantom' WHERE id = 'done'")
    found = await verify(written.rebuilding)

    assert {(d.task_id, d.kind, d.what) for d in found.listed} == {
        ("done", "task", "missing"),
        ("phantom", "task", "not in the log"),
    }


async def test_a_rebuild_after_dropping_the_schema_gives_the_same_hash(written: Sink) -> None:
    before = await verify(written.rebuilding)
    await written.execute("DROP SCHEMA ai_orchestrator CASCADE")
    swapped = await rebuild(written.rebuilding)
    after = await verify(written.rebuilding)

    assert swapped.tasks == before.tasks == 6
    assert (after.differences, after.hash) == (0, before.hash)


async def test_a_rebuild_of_right_rows_writes_none(written: Sink) -> None:
    swapped = await rebuild(written.rebuilding)

    assert swapped.changed == {"tasks": 0, "task_steps": 0, "task_execution_logs": 0}


async def test_rows_of_tasks_that_are_older_than_the_log_stay(sink: Sink) -> None:
    log = a_log()
    old = [a_marker(), *events_of(log)]
    await sink.append(old)
    await sink.commit(len(old))
    await Projector(0, sink.parts).open()
    log.create("new")
    log.run_to_the_end("waiting")
    later = events_of(log)[len(old) - 1 :]
    await sink.append(later)
    await sink.commit(len(old) + len(later))
    await Projector(0, sink.parts).open()
    rows = "SELECT * FROM ai_orchestrator.tasks ORDER BY id, created_at"
    before = await sink.fetch(rows)
    # The marker is gone, and the first half of the history of "waiting".
    await cut(sink, len(old))
    await sink.execute("DELETE FROM ai_orchestrator.tasks WHERE id = 'new'")
    swapped = await rebuild(sink.rebuilding)

    assert swapped.tasks == 1
    assert await sink.fetch(rows) == before
    found = await verify(sink.rebuilding)
    assert (found.differences, found.tasks) == (0, 1)
    assert found.older > 10


async def test_a_sink_that_fell_behind_the_logs_start_is_put_there_by_a_rebuild(
    sink: Sink,
) -> None:
    log = ALog()
    log.create("old")
    begun = [a_marker(), *events_of(log)]
    await sink.append(begun)
    await sink.commit(len(begun))
    await Projector(0, sink.parts).open()
    log.report(ResultKind.STARTED, "old")
    log.create("new")
    log.run_to_the_end("old")
    later = events_of(log)[len(begun) - 1 :]
    await sink.append(later)
    await cut(sink, len(begun) + 1)
    with pytest.raises(SinkPositionError):
        await Projector(0, sink.parts).open()
    await rebuild(sink.rebuilding)
    await sink.commit(len(begun) + len(later))
    await Projector(0, sink.parts).open()

    assert await sink.statuses("old", "new") == ["completed", "pending"]


async def test_a_row_that_postgres_refuses_is_left_out_of_a_rebuild_too(sink: Sink) -> None:
    log = a_log()
    bad = ALog()
    bad.create("bad")
    refused = [msgspec.structs.replace(e, phase="a\x00b") for e in events_of(bad)]
    events = [a_marker(), *events_of(log)[:3], *refused, *events_of(log)[3:]]
    await sink.append(events)
    await sink.commit(len(events))
    await Projector(0, sink.parts).open()
    await sink.execute("DELETE FROM ai_orchestrator.tasks")
    swapped = await rebuild(sink.rebuilding)

    assert swapped.tasks == 6
    assert (await verify(sink.rebuilding)).differences == 0


async def test_only_one_rebuild_runs_at_a_time(sink: Sink) -> None:
    async with open_table_set(sink.postgres):
        with pytest.raises(RebuildRunsError):
            await rebuild(sink.rebuilding)

    [[left]] = await sink.fetch("SELECT to_regnamespace('ai_orchestrator_rebuild')::text")
    assert left is None


async def test_a_sink_that_runs_beside_rebuilds_misses_nothing(sink: Sink) -> None:
    """Tasks come all the time; the rows are spoilt, rebuilt, and complete at the end."""
    count = 200
    await sink.append([a_marker()])
    async with running(sink) as app, asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
        done = asyncio.Event()

        async def create() -> None:
            for number in range(count):
                log = ALog()
                log.create(f"t{number}")
                log.run_to_the_end(f"t{number}")
                await sink.append(events_of(log))
            done.set()

        async def keep_rebuilding() -> None:
            while not done.is_set():
                await sink.execute("UPDATE ai_orchestrator.tasks SET tenant_id = 'spoilt'")
                await rebuild(sink.rebuilding)

        async def keep_reading() -> None:
            seen = 0
            while not done.is_set():
                [[now]] = await sink.fetch("SELECT count(*) FROM ai_orchestrator.tasks")
                assert now >= seen
                seen = now

        for work in (create, keep_rebuilding, keep_reading):
            group.create_task(work())
        await done.wait()
    ids = [f"t{number}" for number in range(count)]
    await sink.commit(1 + 3 * count)
    await Projector(0, sink.parts).open()
    await rebuild(sink.rebuilding)

    assert not app.failed.is_set()
    assert await sink.statuses(*ids) == ["completed"] * count
    assert (await verify(sink.rebuilding)).differences == 0
