"""Old months go as whole partitions; what has not ended, and what is young, stays."""

from datetime import UTC, datetime, timedelta

import pytest

from schemas.records import Millis, TaskId
from sinks.errors import SinkUnavailableError
from sinks.pool import open_pool
from sinks.reads.reader import Reader
from sinks.schema.retention import drop_months
from sinks.settings import PostgresSettings
from sinks.writer import Writer
from tests.sinks.building import START, ALog, write_all

DAY = timedelta(days=1)
OCTOBER = datetime.fromtimestamp(START / 1000, UTC)
NOVEMBER = datetime(2025, 11, 1, tzinfo=UTC)


async def a_projection(writer: Writer) -> None:
    """Ended in October: t1; in December: t2, and t3 that still runs."""
    log = ALog()
    log.create("t1")
    log.run_to_the_end("t1")
    log.now = Millis(START + 60 * 86_400_000)
    log.create("t2")
    log.run_to_the_end("t2")
    log.create("t3")
    await write_all(writer, log.events)


async def ids(reader: Reader) -> list[str]:
    return [row.id for row in await reader.tasks(map(TaskId, ("t1", "t2", "t3")))]


async def test_months_that_ended_before_are_dropped_with_all_their_rows(
    writer: Writer, reader: Reader, database: str
) -> None:
    await a_projection(writer)
    dropped = await drop_months(PostgresSettings(dsn=database), NOVEMBER)

    assert [month.name for month in dropped] == ["tasks_y2025m10", "task_execution_logs_y2025m10"]
    assert await ids(reader) == ["t2", "t3"]
    assert await reader.steps(TaskId("t1")) == []
    assert await reader.logs(TaskId("t1")) == []
    assert len(await reader.steps(TaskId("t2"))) == 2


async def test_a_month_is_kept_until_all_of_it_is_old_enough(
    writer: Writer, reader: Reader, database: str
) -> None:
    await a_projection(writer)

    assert await drop_months(PostgresSettings(dsn=database), NOVEMBER - DAY) == []


async def test_a_month_with_a_task_that_has_not_ended_is_kept(
    writer: Writer, reader: Reader, database: str
) -> None:
    await a_projection(writer)
    found = await drop_months(PostgresSettings(dsn=database), NOVEMBER + 65 * DAY)

    assert [(m.name, m.unfinished) for m in found if m.unfinished] == [("tasks_y2025m12", 1)]
    assert await ids(reader) == ["t2", "t3"]


async def test_a_dry_run_names_months_and_drops_none(
    writer: Writer, reader: Reader, database: str
) -> None:
    await a_projection(writer)
    found = await drop_months(PostgresSettings(dsn=database), NOVEMBER, dry_run=True)

    assert len(found) == 2
    assert await ids(reader) == ["t1", "t2", "t3"]


async def test_an_interrupted_run_is_finished_by_the_next_one(
    writer: Writer, reader: Reader, database: str
) -> None:
    await a_projection(writer)
    settings = PostgresSettings(dsn=database)
    pool = await open_pool(settings)
    await pool.execute(
        "ALTER TABLE ai_orchestrator.tasks DETACH PARTITION ai_orchestrator.tasks_y2025m10"
    )
    await pool.close()
    await drop_months(settings, NOVEMBER)

    assert await drop_months(settings, NOVEMBER) == []


async def test_a_dropped_month_is_made_again_for_a_row_that_needs_it(
    writer: Writer, reader: Reader, database: str
) -> None:
    await a_projection(writer)
    await drop_months(PostgresSettings(dsn=database), NOVEMBER)
    log = ALog(partition=1)
    log.create("t1")
    # A writer that knew the month finds out; the sink then writes the same batch again.
    with pytest.raises(SinkUnavailableError):
        await write_all(writer, log.events)
    await write_all(writer, log.events)

    assert await ids(reader) == ["t1", "t2", "t3"]
