"""What attempts consumed: what counts, what was wasted, and by what it is grouped."""

from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from schemas.records import CommandKind, ResultKind
from sinks.reads.reader import Reader
from sinks.reads.usage import DIMENSIONS, UsageFilter, UsageRow
from sinks.writer import Writer
from tests.sinks.building import AWAY, START, USAGE, ALog, write_all

DAY_MS = 86_400_000


async def summed(reader: Reader) -> UsageRow:
    [row] = await reader.usage(UsageFilter())
    return row


async def test_the_usage_of_a_completed_task_is_that_of_its_steps(
    writer: Writer, reader: Reader
) -> None:
    log = ALog()
    log.create()
    log.run_to_the_end()
    await write_all(writer, log.events)

    row = await summed(reader)
    assert (row.tasks, row.calls, row.wasted_calls) == (1, 2, 0)
    assert row.input_tokens == 2 * USAGE.input_tokens
    assert row.output_tokens == 2 * USAGE.output_tokens
    assert row.cost_micros == 2 * USAGE.cost_micros
    assert (row.wasted_input_tokens, row.wasted_output_tokens, row.wasted_cost_micros) == (0, 0, 0)


async def test_an_attempt_that_failed_is_wasted_and_counted_apart(
    writer: Writer, reader: Reader
) -> None:
    log = ALog()
    log.create()
    log.report(ResultKind.FAILED, error=AWAY)
    log.report(ResultKind.FAILED)
    await write_all(writer, log.events)

    row = await summed(reader)
    assert (row.calls, row.wasted_calls) == (2, 2)
    assert (row.input_tokens, row.output_tokens, row.cost_micros) == (0, 0, 0)
    assert row.wasted_input_tokens == 2 * USAGE.input_tokens
    assert row.wasted_cost_micros == 2 * USAGE.cost_micros


async def test_a_success_whose_output_a_later_run_dropped_is_wasted(
    writer: Writer, reader: Reader
) -> None:
    log = ALog()
    log.create()
    log.report(ResultKind.SUCCEEDED)
    log.report(ResultKind.FAILED)
    log.command(CommandKind.RETRY, from_step="retrieve")
    await write_all(writer, log.events)

    row = await summed(reader)
    assert (row.calls, row.wasted_calls) == (2, 2)
    assert row.wasted_cost_micros == 2 * USAGE.cost_micros
    assert row.cost_micros == 0


async def test_a_success_that_a_later_run_kept_still_counts(writer: Writer, reader: Reader) -> None:
    log = ALog()
    log.create()
    log.report(ResultKind.SUCCEEDED)
    log.report(ResultKind.FAILED)
    log.command(CommandKind.RETRY)
    await write_all(writer, log.events)

    row = await summed(reader)
    assert (row.calls, row.wasted_calls) == (2, 1)
    assert row.cost_micros == USAGE.cost_micros
    assert row.wasted_cost_micros == USAGE.cost_micros


async def test_a_task_that_waits_is_counted_without_a_call(writer: Writer, reader: Reader) -> None:
    log = ALog()
    log.create("task_held", hold=True)
    log.create("task_queued")
    await write_all(writer, log.events)

    row = await summed(reader)
    assert (row.tasks, row.calls, row.cost_micros) == (2, 0, 0)


async def test_usage_is_grouped_by_every_dimension(writer: Writer, reader: Reader) -> None:
    log = ALog()
    log.create("task_1")
    log.run_to_the_end("task_1")
    log.now += DAY_MS
    log.create("task_2")
    log.report(ResultKind.FAILED, "task_2")
    await write_all(writer, log.events)

    rows = await reader.usage(UsageFilter(by=DIMENSIONS))

    shown = [(row.model, row.type, row.tenant, row.day, row.status, row.tasks) for row in rows]
    assert shown == [
        ("small", "rag", "acme", date(2025, 10, 9), "completed", 1),
        ("small", "rag", "acme", date(2025, 10, 10), "failed", 1),
    ]
    assert [row.cost_micros for row in rows] == [2 * USAGE.cost_micros, 0]
    assert [row.wasted_cost_micros for row in rows] == [0, USAGE.cost_micros]


@pytest.mark.parametrize(
    ("which", "tasks"),
    [
        pytest.param(UsageFilter(tenant_id="acme"), 1, id="its tenant"),
        pytest.param(UsageFilter(tenant_id="other"), 0, id="another tenant"),
        pytest.param(UsageFilter(since=datetime(2025, 10, 9, tzinfo=UTC)), 1, id="since its day"),
        pytest.param(UsageFilter(until=datetime(2025, 10, 9, tzinfo=UTC)), 0, id="until its day"),
    ],
)
async def test_usage_is_that_of_a_tenant_and_of_a_time(
    writer: Writer, reader: Reader, which: UsageFilter, tasks: int
) -> None:
    log = ALog()
    log.create()
    await write_all(writer, log.events)

    assert sum(row.tasks for row in await reader.usage(which)) == tasks


async def test_sums_beyond_64_bits_are_exact(database: str, writer: Writer, reader: Reader) -> None:
    log = ALog()
    for number in range(3):
        log.create(f"task_{number}")
        log.run_to_the_end(f"task_{number}")
    await write_all(writer, log.events)
    conn = await asyncpg.connect(database)
    await conn.execute("UPDATE ai_orchestrator.task_steps SET cost_micros = 9223372036854775807")
    await conn.close()

    assert (await summed(reader)).cost_micros == 6 * (2**63 - 1)


def test_the_built_log_begins_on_the_day_that_the_tests_name() -> None:
    began = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=START)

    assert began.date() == date(2025, 10, 9)
