"""What the writer promises: once, in order, all or nothing, and an error that says what to do."""

import asyncio
import json
from typing import cast

import asyncpg
import msgspec
import pytest

from orchestrator.local.embedded.postgres import EmbeddedPostgres
from schemas.records import CommandKind, Json, Millis, ResultKind, TaskId, TaskStatus
from sinks.errors import (
    SchemaMissingError,
    SinkPositionError,
    SinkRowError,
    SinkUnavailableError,
)
from sinks.reads.reader import Reader
from sinks.rows import LogEvent
from sinks.settings import PostgresSettings
from sinks.writer import Writer
from tests.sinks.building import (
    AWAY,
    OUTPUT,
    ALog,
    a_completed_log,
    a_marker,
    a_proxy,
    at,
    lose_answers,
    write_all,
    write_on,
)

TASK = TaskId("task_1")


async def test_a_completed_task_is_one_row_with_its_steps(writer: Writer, reader: Reader) -> None:
    log = a_completed_log()

    await write_all(writer, log.events)

    task = await reader.task(TASK)
    assert task is not None
    assert (task.status, task.phase, task.type, task.tenant_id) == (
        "completed",
        "completed",
        "rag",
        "acme",
    )
    assert task.cost_micros == 900
    assert task.started_at is not None
    assert task.completed_at is not None
    assert task.duration_ms == (task.completed_at - task.started_at).total_seconds() * 1000
    steps = json.loads(task.steps)
    assert [(step["name"], step["status"], step["attempt"]) for step in steps] == [
        ("retrieve", "succeeded", 1),
        ("generate", "succeeded", 1),
    ]
    assert steps[0]["output"] == json.loads(OUTPUT)
    assert steps[0]["input"]["query"] == "why?"
    assert steps[0]["usage"]["cost_micros"] == 450
    assert steps[0]["substeps"][0]["output"] == {"found": [1, 2]}
    assert {type(step["duration_ms"]) for step in steps} == {int}


async def test_every_attempt_has_a_row_with_its_input(writer: Writer, reader: Reader) -> None:
    log = ALog()
    log.create()
    log.report(ResultKind.FAILED, error=AWAY)
    log.report(ResultKind.SUCCEEDED)

    await write_all(writer, log.events, range(len(log.events)))

    attempts = await reader.steps(TASK)
    assert [(step.step, step.attempt, step.status) for step in attempts] == [
        ("retrieve", 1, "retry_scheduled"),
        ("retrieve", 2, "succeeded"),
        ("generate", 1, "pending"),
    ]
    assert attempts[0].error_code == "UNAVAILABLE"
    assert attempts[1].error_code is None
    assert attempts[1].input == attempts[0].input is not None


async def test_a_tasks_steps_hold_the_last_attempt_of_each(writer: Writer, reader: Reader) -> None:
    log = ALog()
    log.create()
    log.report(ResultKind.FAILED, error=AWAY)
    log.report(ResultKind.STARTED)

    await write_all(writer, log.events)

    task = await reader.task(TASK)
    assert task is not None
    (step,) = json.loads(task.steps)
    assert (step["attempt"], step["status"], step["error"]) == (2, "running", None)
    assert step["input"]["query"] == "why?"


async def test_a_run_shows_the_steps_that_it_kept_and_its_own(
    writer: Writer, reader: Reader
) -> None:
    log = ALog()
    log.create()
    log.report(ResultKind.SUCCEEDED)
    log.report(ResultKind.FAILED)
    log.command(CommandKind.RETRY)

    await write_all(writer, log.events)

    task = await reader.task(TASK)
    assert task is not None
    assert [(step["name"], step["run"], step["status"]) for step in json.loads(task.steps)] == [
        ("retrieve", 1, "succeeded"),
        ("generate", 2, "pending"),
    ]
    assert (task.run, task.status, task.error_code, task.completed_at) == (
        2,
        "pending",
        None,
        None,
    )


async def test_a_run_from_an_earlier_step_hides_the_later_steps_of_the_run_before(
    writer: Writer, reader: Reader
) -> None:
    log = ALog()
    log.create()
    log.report(ResultKind.SUCCEEDED)
    log.report(ResultKind.FAILED)
    log.command(CommandKind.RETRY, from_step="retrieve")

    await write_all(writer, log.events)

    task = await reader.task(TASK)
    assert task is not None
    assert [(step["name"], step["run"]) for step in json.loads(task.steps)] == [("retrieve", 2)]


async def test_a_batch_written_twice_is_stored_once(
    database: str, writer: Writer, reader: Reader
) -> None:
    log = a_completed_log()
    await write_all(writer, log.events)
    before = (await reader.task(TASK), await reader.steps(TASK), await reader.logs(TASK))

    await write_on(writer, log.events)

    assert (await reader.task(TASK), await reader.steps(TASK), await reader.logs(TASK)) == before
    assert await reader.count_by_status() == {"completed": 1}


async def test_an_older_event_never_overwrites_a_newer_one(writer: Writer, reader: Reader) -> None:
    log = a_completed_log()
    await write_all(writer, log.events)

    await write_on(writer, log.events[1:3])

    task = await reader.task(TASK)
    assert task is not None
    assert task.status == "completed"


async def test_a_new_life_of_an_id_replaces_the_former_one(writer: Writer, reader: Reader) -> None:
    log = a_completed_log()
    log.forget()
    log.now += 40 * 24 * 3_600_000
    log.create()

    await write_all(writer, log.events, [len(log.events) - 1])

    assert [task.status for task in await reader.tasks([TASK])] == ["pending"]
    assert [step.status for step in await reader.steps(TASK)] == ["pending"]
    assert len(await reader.logs(TASK)) == len(log.events)


async def test_a_retried_task_that_is_not_there_is_written_from_that_event_alone(
    writer: Writer, reader: Reader
) -> None:
    log = ALog()
    log.create()
    log.report(ResultKind.FAILED)
    log.command(CommandKind.RETRY)

    await write_on(writer, log.events[-1:])

    task = await reader.task(TASK)
    assert task is not None
    assert (task.run, task.status, task.created_at.year) == (2, "pending", 2025)


async def test_the_trail_names_who_did_what_without_documents(
    writer: Writer, reader: Reader
) -> None:
    log = ALog()
    log.create()
    log.command(CommandKind.CANCEL)
    log.command(CommandKind.CANCEL)

    await write_all(writer, log.events)

    created, cancelled, refused = await reader.logs(TASK)
    assert (created.event_type, created.actor) == ("created", None)
    assert (cancelled.event_type, cancelled.actor) == ("cancelled", "ada")
    assert json.loads(cancelled.event_data)["reason"] == "because"
    assert json.loads(refused.event_data)["reason"] == "TASK_ALREADY_CANCELLED"
    assert "why?" not in created.event_data


async def test_markers_and_empty_batches_move_only_the_position(
    database: str, writer: Writer
) -> None:
    await writer.write(0, None, [LogEvent(0, 0, a_marker(1))], at(1))
    await writer.write(0, at(1), [], at(5, epoch=2))

    assert await writer.positions([0, 1]) == {0: at(5, epoch=2)}
    assert await _count(database, "task_execution_logs") == 0


async def test_a_position_that_was_moved_by_another_writer_rolls_back(
    database: str, writer: Writer
) -> None:
    log = a_completed_log()
    await writer.write(0, None, [], at(2))

    with pytest.raises(SinkPositionError):
        await writer.write(0, at(0), log.events, at(9))

    assert await writer.positions([0]) == {0: at(2)}
    assert await _count(database, "tasks") == 0


async def test_a_partition_has_one_first_write(writer: Writer) -> None:
    await writer.write(0, None, [], at(2))

    with pytest.raises(SinkPositionError):
        await writer.write(0, None, [], at(2))


async def test_of_two_writers_at_once_one_wins(database: str, writer: Writer) -> None:
    log = a_completed_log()
    other = Writer(PostgresSettings(dsn=database))
    await other.open()
    await writer.write(0, None, [], at(0))

    outcomes = await asyncio.gather(
        writer.write(0, at(0), log.events, at(9)),
        other.write(0, at(0), log.events[:2], at(2)),
        return_exceptions=True,
    )
    await other.close()

    assert [type(outcome) for outcome in outcomes if outcome] == [SinkPositionError]


async def test_a_commit_that_went_through_without_an_answer_is_not_written_again(
    database: str, writer: Writer, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = a_completed_log()

    with monkeypatch.context() as patch:
        lose_answers(patch, done=True)
        with pytest.raises(SinkUnavailableError):
            await writer.write(0, None, log.events, at(9))

    await writer.write(0, None, log.events, at(9))
    await writer.write(0, at(9), [], at(10))

    assert await writer.positions([0]) == {0: at(10)}
    assert len(await reader.logs(TASK)) == len(log.events)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"priority": 11}, id="breaks a constraint"),
        pytest.param({"priority": 2**40}, id="does not fit its column"),
        pytest.param({"status": TaskStatus.UNKNOWN}, id="a status of a newer version"),
        pytest.param({"occurred_at": Millis(10**18)}, id="a time beyond the calendar"),
        pytest.param({"tenant_id": "x" * 65}, id="an id that is too long"),
        pytest.param({"actor": "a\0b"}, id="text with NUL"),
        pytest.param({"actor": "a\ud800"}, id="text with a lone surrogate"),
    ],
)
async def test_a_refused_row_is_told_apart_and_nothing_of_its_batch_is_written(
    database: str, writer: Writer, broken: dict[str, object]
) -> None:
    log = ALog()
    log.create()
    log.create("task_2")
    bad = msgspec.structs.replace(log.events[1].event, **broken)

    with pytest.raises(SinkRowError):
        await writer.write(0, None, [log.events[0], LogEvent(0, 1, bad)], at(2))

    assert await writer.positions([0]) == {}
    assert await _count(database, "tasks") == 0
    await writer.write(0, None, log.events[:1], at(2))


async def test_a_document_that_is_no_json_is_a_refused_row(writer: Writer) -> None:
    log = ALog()
    log.create()
    event = log.events[0].event
    assert event.task is not None
    spec = msgspec.structs.replace(event.task, metadata=Json('{"a":"\\u0000"}'))

    with pytest.raises(SinkRowError, match="22P05"):
        await writer.write(
            0, None, [LogEvent(0, 0, msgspec.structs.replace(event, task=spec))], at(1)
        )


async def test_a_month_that_was_dropped_is_made_again(
    database: str, writer: Writer, reader: Reader
) -> None:
    log = a_completed_log()
    await write_all(writer, log.events[:1])
    conn = await asyncpg.connect(database)
    await conn.execute("DROP TABLE ai_orchestrator.tasks_y2025m10")
    await conn.execute("DROP TABLE ai_orchestrator.task_execution_logs_y2025m10")
    await conn.close()
    with pytest.raises(SinkUnavailableError, match="23514"):
        await write_on(writer, log.events)

    await write_on(writer, log.events)

    assert await reader.count_by_status() == {"completed": 1}


async def test_writers_that_need_the_same_new_month_at_once_all_succeed(
    database: str, reader: Reader
) -> None:
    writers = [Writer(PostgresSettings(dsn=database)) for _ in range(6)]
    logs = [ALog(partition=number) for number in range(6)]
    for number, log in enumerate(logs):
        log.create(f"task_{number}")
    for each in writers:
        await each.open()

    await asyncio.gather(
        *(write_all(each, log.events) for each, log in zip(writers, logs, strict=True))
    )
    for each in writers:
        await each.close()

    assert await reader.count_by_status() == {"pending": 6}


async def test_a_locked_position_is_waited_for_only_so_long(database: str) -> None:
    impatient = Writer(PostgresSettings(dsn=database, lock_timeout_ms=50))
    await impatient.open()
    await impatient.write(0, None, [], at(1))
    conn = await asyncpg.connect(database)
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute("SELECT FROM ai_orchestrator.sink_offsets FOR UPDATE")

    with pytest.raises(SinkUnavailableError, match="55P03"):
        await impatient.write(0, at(1), [], at(2))

    await transaction.rollback()
    await conn.close()
    await impatient.write(0, at(1), [], at(2))
    await impatient.close()


async def test_a_read_only_server_is_unavailable(database: str) -> None:
    conn = await asyncpg.connect(database)
    name = await conn.fetchval("SELECT current_database()")
    await conn.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await conn.close()

    with pytest.raises(SinkUnavailableError, match="25006"):
        await Writer(PostgresSettings(dsn=database)).open()


async def test_a_cancelled_write_leaves_nothing_behind(database: str, writer: Writer) -> None:
    log = a_completed_log()
    conn = await asyncpg.connect(database)
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute("LOCK TABLE ai_orchestrator.task_execution_logs")
    writing = asyncio.create_task(write_all(writer, log.events))
    async with asyncio.timeout(10):
        while not await conn.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            pass

    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await transaction.rollback()
    await conn.close()

    await write_all(writer, log.events)
    assert await _count(database, "tasks") == 1


async def test_a_stopped_server_is_unavailable_until_it_is_back(
    postgres_server: EmbeddedPostgres, database: str, writer: Writer, reader: Reader
) -> None:
    log = a_completed_log()
    await write_all(writer, log.events[:1])
    await postgres_server.stop()
    try:
        with pytest.raises(SinkUnavailableError):
            await writer.write(0, at(1), log.events[1:], at(9))
        with pytest.raises(SinkUnavailableError):
            await reader.task(TASK)
        with pytest.raises(SinkUnavailableError):
            await Writer(PostgresSettings(dsn=database)).open()
    finally:
        await postgres_server.start()

    await writer.write(0, at(1), log.events[1:], at(9))

    assert await reader.count_by_status() == {"completed": 1}


async def test_a_network_that_swallows_everything_is_given_up_in_time(
    database: str, reader: Reader
) -> None:
    async with a_proxy(database) as (dsn, silence):
        settings = PostgresSettings(dsn=dsn, statement_timeout_ms=200, operation_timeout_s=0.5)
        far = Writer(settings)
        await far.open()
        silence.set()

        async with asyncio.timeout(2):  # the driver by itself would wait longer
            with pytest.raises(SinkUnavailableError):
                await far.write(0, None, a_completed_log().events, at(9))
            await far.close()

    assert await reader.count_by_status() == {}


async def test_a_command_that_moves_to_another_lane_keeps_when_it_was_dispatched(
    writer: Writer, reader: Reader
) -> None:
    log = ALog()
    log.create()
    log.command(CommandKind.SET_PRIORITY, priority=10)

    await write_all(writer, log.events, [1])

    created, _ = await reader.logs(TASK)
    (step,) = await reader.steps(TASK)
    assert (step.lane, step.dispatched_at) == ("high", created.created_at)


async def test_a_table_that_is_missing_is_waited_for_with_what_to_do(
    database: str, writer: Writer
) -> None:
    conn = await asyncpg.connect(database)
    await conn.execute("ALTER TABLE ai_orchestrator.sink_offsets RENAME TO elsewhere")
    await conn.close()

    with pytest.raises(SchemaMissingError, match="orchestrator migrate up"):
        await writer.write(0, None, [], at(1))


async def test_events_of_another_partition_or_out_of_order_are_a_bug(writer: Writer) -> None:
    log = a_completed_log()

    with pytest.raises(ValueError, match="partition 1"):
        await writer.write(1, None, log.events, at(9))
    with pytest.raises(ValueError, match="order"):
        await writer.write(0, None, log.events[::-1], at(9))


async def _count(database: str, table: str) -> int:
    conn = await asyncpg.connect(database)
    count = await conn.fetchval(f"SELECT count(*) FROM ai_orchestrator.{table}")
    await conn.close()
    return cast(int, count)
