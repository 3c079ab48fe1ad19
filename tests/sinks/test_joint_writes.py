"""Batches of several partitions in one transaction: each stands and falls by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import msgspec
import pytest

from sinks.errors import SinkPositionError, SinkRowError, SinkUnavailableError
from sinks.reads.reader import Reader
from sinks.rows import LogEvent
from sinks.settings import PostgresSettings
from sinks.writer import Writer
from tests.sinks.building import ALog, a_proxy, at, lose_answers

STEPS = "LOCK TABLE ai_orchestrator.task_steps"


def a_batch(partition: int) -> list[LogEvent]:
    """One event, at offset 0: a task of this partition is created."""
    log = ALog(partition=partition)
    log.create(f"task_{partition}")
    return log.events


def writing(writer: Writer, *partitions: int) -> list[asyncio.Task[None]]:
    """First batches of partitions; given at the same moment, so in one transaction."""
    return [
        asyncio.create_task(writer.write(partition, None, a_batch(partition), at(1)))
        for partition in partitions
    ]


@asynccontextmanager
async def held(database: str, lock: str) -> AsyncIterator[asyncpg.Connection]:
    """Someone holds a lock, until the block ends."""
    conn = await asyncpg.connect(database)
    async with conn.transaction():
        await conn.execute(lock)
        yield conn
    await conn.close()


async def until_somebody_waits(conn: asyncpg.Connection) -> None:
    async with asyncio.timeout(10):
        while not await conn.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            pass


async def transactions(database: str) -> dict[int, object]:
    """Which transaction moved each partition last."""
    conn = await asyncpg.connect(database)
    rows = await conn.fetch("SELECT log_partition, xmin FROM ai_orchestrator.sink_offsets")
    await conn.close()
    return dict(map(tuple, rows))


async def test_what_waits_behind_a_slow_transaction_is_written_in_one(
    database: str, writer: Writer, reader: Reader
) -> None:
    async with held(database, STEPS) as lock:
        writes = writing(writer, 0)
        await until_somebody_waits(lock)
        writes += writing(writer, 1, 2)
        await asyncio.sleep(0)
    await asyncio.gather(*writes)

    moved_by = await transactions(database)
    assert moved_by[0] != moved_by[1] == moved_by[2]
    assert await writer.positions([0, 1, 2]) == {0: at(1), 1: at(1), 2: at(1)}
    assert await reader.count_by_status() == {"pending": 3}


async def test_a_partition_begins_in_the_transaction_in_which_another_one_moves(
    database: str, writer: Writer
) -> None:
    await writer.write(0, None, [], at(0))

    await asyncio.gather(
        writer.write(1, None, a_batch(1), at(1)), writer.write(0, at(0), a_batch(0), at(1))
    )

    moved_by = await transactions(database)
    assert moved_by[0] == moved_by[1]


async def test_a_row_that_is_refused_keeps_no_other_partition_from_being_written(
    writer: Writer, reader: Reader
) -> None:
    (good,) = a_batch(1)
    bad = LogEvent(1, 0, msgspec.structs.replace(good.event, priority=11))
    refused = asyncio.create_task(writer.write(1, None, [bad], at(1)))

    outcomes = await asyncio.gather(*writing(writer, 0, 2), refused, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes if outcome] == [SinkRowError]
    assert isinstance(outcomes[-1], SinkRowError)
    assert await writer.positions([0, 1, 2]) == {0: at(1), 2: at(1)}
    assert await reader.count_by_status() == {"pending": 2}


async def test_a_position_that_is_elsewhere_keeps_no_other_partition_from_being_written(
    writer: Writer, reader: Reader
) -> None:
    await writer.write(1, None, [], at(7))

    outcomes = await asyncio.gather(*writing(writer, 0, 1, 2), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [type(None), SinkPositionError, type(None)]
    assert await writer.positions([0, 1, 2]) == {0: at(1), 1: at(7), 2: at(1)}
    assert await reader.count_by_status() == {"pending": 2}


async def test_a_position_that_is_locked_keeps_no_other_partition_from_being_written(
    database: str, writer: Writer
) -> None:
    impatient = Writer(PostgresSettings(dsn=database, lock_timeout_ms=50))
    await impatient.open()
    await impatient.write(1, None, [], at(0))
    moving = impatient.write(1, at(0), a_batch(1), at(1))

    async with held(database, "SELECT FROM ai_orchestrator.sink_offsets FOR UPDATE"):
        outcomes = await asyncio.gather(*writing(impatient, 0, 2), moving, return_exceptions=True)
    await impatient.close()

    assert [type(outcome) for outcome in outcomes if outcome] == [type(outcomes[-1])]
    assert isinstance(outcomes[-1], SinkUnavailableError)
    assert await writer.positions([0, 1, 2]) == {0: at(1), 1: at(0), 2: at(1)}


async def test_an_id_that_is_in_two_partitions_is_written_for_each(
    database: str, writer: Writer
) -> None:
    stray = LogEvent(1, 0, a_batch(0)[0].event)

    await asyncio.gather(*writing(writer, 0), writer.write(1, None, [stray], at(1)))

    moved_by = await transactions(database)
    assert moved_by[0] != moved_by[1]


async def test_a_caller_that_is_cancelled_harms_nobody_and_waits_for_the_end(
    database: str, writer: Writer, reader: Reader
) -> None:
    async with held(database, STEPS) as lock:
        cancelled, other = writing(writer, 0, 1)
        await until_somebody_waits(lock)
        cancelled.cancel()
        await asyncio.wait([cancelled], timeout=0.05)
        assert not cancelled.done()
    await asyncio.wait([cancelled])

    assert cancelled.cancelled()
    assert await writer.positions([0, 1]) == {0: at(1), 1: at(1)}
    assert await reader.count_by_status() == {"pending": 2}
    await other


async def test_the_rows_of_callers_that_are_all_cancelled_are_written_once(
    database: str, writer: Writer, reader: Reader
) -> None:
    async with held(database, STEPS) as lock:
        callers = writing(writer, 0, 1)
        await until_somebody_waits(lock)
        for caller in callers:
            caller.cancel()
        async with asyncio.timeout(2):
            await asyncio.wait(callers)

    # The server may end the call that nobody waits for now, or go through with it.
    await asyncio.gather(*writing(writer, 0, 1))
    assert await writer.positions([0, 1]) == {0: at(1), 1: at(1)}
    assert await reader.count_by_status() == {"pending": 2}


@pytest.mark.parametrize("done", [True, False])
async def test_a_commit_without_an_answer_is_settled_for_each_partition(
    writer: Writer, reader: Reader, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    with monkeypatch.context() as patch:
        lose_answers(patch, done=done)
        outcomes = await asyncio.gather(*writing(writer, 0, 1), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {SinkUnavailableError}

    # In other company than before.
    await asyncio.gather(*writing(writer, 0, 2))
    await asyncio.gather(*writing(writer, 1, 3))

    assert await writer.positions(range(4)) == {n: at(1) for n in range(4)}
    assert await reader.count_by_status() == {"pending": 4}


async def test_of_two_commits_without_an_answer_the_one_that_failed_is_written(
    writer: Writer, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    for partition, done in ((0, False), (1, True)):
        with monkeypatch.context() as patch:
            lose_answers(patch, done=done)
            await asyncio.gather(*writing(writer, partition), return_exceptions=True)

    await asyncio.gather(*writing(writer, 0, 1))

    assert await writer.positions([0, 1]) == {0: at(1), 1: at(1)}
    assert await reader.count_by_status() == {"pending": 2}


async def test_closing_ends_a_write_that_gets_no_answer(database: str) -> None:
    async with a_proxy(database) as (dsn, silence):
        settings = PostgresSettings(dsn=dsn, statement_timeout_ms=200, operation_timeout_s=0.5)
        far = Writer(settings)
        await far.open()
        silence.set()
        writes = writing(far, 0)
        for _ in range(10):
            await asyncio.sleep(0)

        async with asyncio.timeout(2):
            await far.close()

        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {SinkUnavailableError}
