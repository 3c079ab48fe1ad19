"""Counts in Postgres: each accepted event counts once, whatever happens to its batch."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple, replace

from schemas.records import CommandKind, Json, ResultKind, TaskId
from sinks.counts import measures
from sinks.counts.naming import OTHER, TENANTS_MAX, Naming
from sinks.counts.row import CountRow
from sinks.counts.tally import tally
from sinks.errors import SinkBlockedError, SinkPositionError, SinkUnavailableError
from sinks.letters.rewriter import Rewriter
from sinks.rows import LogEvent
from sinks.schema.retention import drop_months
from sinks.settings import PostgresSettings
from sinks.writer import Writer
from tests.sinks.building import (
    AWAY,
    ALog,
    a_completed_log,
    at,
    lose_answers,
    write_all,
    write_on,
)
from tests.sinks.test_sink_projection import logs

_EXAMPLES = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
ALL = range(8)


def a_log(partition: int = 0) -> ALog:
    """Tasks that completed after a retry, failed and ran again, and were cancelled."""
    log = ALog(partition=partition)
    for name in ("done", "failed", "cancelled"):
        log.create(f"{name}_{partition}")
    log.report(ResultKind.STARTED, f"done_{partition}")
    log.report(ResultKind.FAILED, f"done_{partition}", AWAY)
    log.run_to_the_end(f"done_{partition}")
    log.report(ResultKind.FAILED, f"failed_{partition}")
    log.command(CommandKind.RETRY, f"failed_{partition}")
    log.run_to_the_end(f"failed_{partition}")
    log.command(CommandKind.CANCEL, f"cancelled_{partition}")
    return log


def tallied(events: Sequence[LogEvent]) -> list[CountRow]:
    """What events add up to; the rows that are not exported are left out."""
    rows = tally(events, {}, Naming())
    return [normal(row) for row in rows if row.metric.startswith("orchestrator_")]


def normal(row: CountRow) -> CountRow:
    """A row whose labels are spelt in one way."""
    labels = Json(row.labels.replace(" ", ""))
    return replace(row, labels=labels, total=Decimal(int(row.total)))


async def stored(writer: Writer) -> list[CountRow]:
    rows = [normal(row) for row in await writer.counts(ALL)]
    return sorted(rows, key=lambda row: (row.log_partition, row.metric, row.labels, row.bucket))


def same(found: Sequence[CountRow], wanted: Sequence[CountRow]) -> bool:
    def by_content(row: CountRow) -> tuple[object, ...]:
        return astuple(replace(row, labels=Json("".join(sorted(row.labels)))))

    return sorted(map(by_content, found)) == sorted(map(by_content, wanted))


async def emptied(database: str) -> None:
    conn = await asyncpg.connect(database)
    await conn.execute(
        "TRUNCATE ai_orchestrator.tasks, ai_orchestrator.task_steps, "
        "ai_orchestrator.task_execution_logs, ai_orchestrator.sink_offsets, "
        "ai_orchestrator.metric_counts"
    )
    await conn.close()


@_EXAMPLES
@given(data=st.data(), log=logs())
async def test_a_log_cut_anywhere_gives_the_counts_of_its_events(
    database: str, writer: Writer, data: st.DataObject, log: ALog
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(log.events)), max_size=8))
    await emptied(database)

    await write_all(writer, log.events, cuts)

    assert same(await stored(writer), tallied(log.events))


async def test_events_that_are_written_again_count_nothing(writer: Writer) -> None:
    log = a_log()
    await write_all(writer, log.events)
    before = await stored(writer)

    await write_on(writer, log.events)
    await write_on(writer, log.events[5:])

    assert same(before, tallied(log.events))
    assert await stored(writer) == before


async def test_a_batch_whose_position_is_elsewhere_counts_nothing(writer: Writer) -> None:
    log = a_log()
    await write_all(writer, log.events[:4])
    before = await stored(writer)

    with pytest.raises(SinkPositionError):
        await writer.write(0, at(3), log.events[3:], at(len(log.events)))

    assert await stored(writer) == before


async def test_a_partition_whose_position_was_deleted_is_counted_anew(
    database: str, writer: Writer
) -> None:
    logs = [a_log(partition) for partition in (0, 1)]
    for log in logs:
        await write_all(writer, log.events)
    conn = await asyncpg.connect(database)
    await conn.execute("DELETE FROM ai_orchestrator.sink_offsets WHERE log_partition = 0")
    await conn.close()

    await write_all(writer, logs[0].events)

    assert same(await stored(writer), tallied([*logs[0].events, *logs[1].events]))


async def test_a_batch_whose_commit_had_no_answer_counts_once(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = a_log()

    with monkeypatch.context() as patch:
        lose_answers(patch, done=True)
        with pytest.raises(SinkUnavailableError):
            await writer.write(0, None, log.events, at(len(log.events)))

    await writer.write(0, None, log.events, at(len(log.events)))

    assert same(await stored(writer), tallied(log.events))


async def test_partitions_that_share_a_transaction_are_counted_each(writer: Writer) -> None:
    parts = [a_log(partition) for partition in range(4)]
    events = [logged for log in parts for logged in log.events]

    await asyncio.gather(
        *(writer.write(log.partition, None, log.events, at(len(log.events))) for log in parts)
    )

    assert same(await stored(writer), tallied(events))


async def test_a_former_owner_of_a_partition_counts_nothing(database: str, writer: Writer) -> None:
    log = a_log()
    former = Writer(PostgresSettings(dsn=database))
    await former.open()
    await write_all(writer, log.events)

    with pytest.raises(SinkPositionError):
        await former.write(0, None, log.events, at(len(log.events)))
    await former.close()

    assert same(await stored(writer), tallied(log.events))


async def test_months_that_are_dropped_lower_no_count(database: str, writer: Writer) -> None:
    log = a_log()
    await write_all(writer, log.events)
    before = await stored(writer)

    dropped = await drop_months(PostgresSettings(dsn=database), datetime(2026, 1, 1, tzinfo=UTC))

    assert dropped
    assert await stored(writer) == before


async def test_an_event_that_was_refused_is_counted_when_its_task_is_rewritten(
    database: str, writer: Writer
) -> None:
    log = a_completed_log()
    # The second event was refused: the position passed it without a row.
    refused = [logged for logged in log.events if logged.offset != 2]
    await writer.write(0, None, refused, at(len(log.events)))
    rewriter = Rewriter(PostgresSettings(dsn=database))
    await rewriter.open()
    for _ in range(2):
        async with rewriter.locked(0) as locked:
            await locked.rewrite([TaskId("task_1")], log.events)
    await rewriter.close()

    assert same(await stored(writer), tallied(log.events))


async def test_a_task_whose_month_was_dropped_counts_nothing_when_it_is_rewritten(
    database: str, writer: Writer
) -> None:
    settings, log = PostgresSettings(dsn=database), a_completed_log()
    await write_all(writer, log.events)
    before = await stored(writer)
    await drop_months(settings, datetime(2026, 1, 1, tzinfo=UTC))
    rewriter = Rewriter(settings)
    await rewriter.open()
    async with rewriter.locked(0) as locked:
        await locked.rewrite([TaskId("task_1")], log.events)
    await rewriter.close()

    assert await stored(writer) == before


async def test_tenants_beyond_the_largest_are_counted_together(
    database: str, writer: Writer
) -> None:
    conn = await asyncpg.connect(database)
    await conn.executemany(
        "INSERT INTO ai_orchestrator.metric_counts VALUES (7, 'tenant_cost', $1, 0, 1, 1000000)",
        [(f'{{"tenant": "large{number}"}}',) for number in range(TENANTS_MAX)],
    )
    log = a_completed_log()
    await write_all(writer, log.events[:3])

    await writer.rank_tenants()
    await write_on(writer, log.events[3:])

    sums = await conn.fetch(
        "SELECT labels ->> 'tenant_id', sum(total) FROM ai_orchestrator.metric_counts"
        " WHERE metric = $1 GROUP BY 1",
        measures.COST.name,
    )
    await conn.close()
    assert {tenant: int(total) for tenant, total in sums} == {"acme": 450, OTHER: 450}


BROKEN = {
    "a new column": "ADD x int NOT NULL",
    "a rule": "ADD CHECK (log_partition < 0)",
}


@pytest.mark.parametrize("change", BROKEN)
async def test_a_table_of_counts_that_refuses_every_row_costs_no_event(
    database: str, writer: Writer, change: str
) -> None:
    conn = await asyncpg.connect(database)
    await conn.execute(f"ALTER TABLE ai_orchestrator.metric_counts {BROKEN[change]}")
    await conn.close()

    with pytest.raises(SinkBlockedError):
        await writer.write(0, None, a_completed_log().events[:1], at(1))
