"""How long statements took, as Prometheus sees it."""

import asyncio

import asyncpg
import pytest
from prometheus_client import REGISTRY

from sinks.metrics import operation_of
from sinks.queries import SCHEMA, query
from sinks.writer import Writer
from tests.sinks.building import a_completed_log, write_all


def measured(operation: str) -> float:
    labels = {"operation": operation}
    found = REGISTRY.get_sample_value("orchestrator_db_query_duration_seconds_count", labels)
    return found or 0.0


async def test_every_statement_of_a_batch_is_measured(writer: Writer) -> None:
    operations = ("begin", "position", "count", "write", "commit", "month")
    before = {operation: measured(operation) for operation in operations}

    await write_all(writer, a_completed_log().events)

    more = {operation: measured(operation) - before[operation] for operation in operations}
    # One call writes; heads are in the batch, so that none are read.
    assert more == {"begin": 0, "position": 1, "count": 0, "write": 1, "commit": 0, "month": 1}


async def test_a_statement_that_fails_is_measured(database: str, writer: Writer) -> None:
    conn = await asyncpg.connect(database)
    await conn.execute("DROP TABLE ai_orchestrator.sink_offsets")
    await conn.close()
    before = measured("position")

    with pytest.raises(Exception, match="sink_offsets"):
        await writer.positions([0])

    await asyncio.sleep(0)  # the driver measures in the next turn of the loop
    assert measured("position") == before + 1


@pytest.mark.parametrize(
    ("statement", "operation"),
    [
        ("BEGIN;", "begin"),
        ("BEGIN READ ONLY; SET LOCAL statement_timeout = '5'", "begin"),
        ("COMMIT;", "commit"),
        ("ROLLBACK;", "rollback"),
        (query("read_counts"), "count"),
        (query("read_task_heads", "another"), "count"),
        (query("write_batch"), "write"),
        (query("describe_server"), "other"),
        (f"SELECT FROM {SCHEMA}.dead_letters", "letters"),
        ("SELECT 1", "other"),
    ],
)
def test_a_statement_is_of_one_of_few_operations(statement: str, operation: str) -> None:
    assert operation_of(statement) == operation
