"""Large documents of steps are stored once, and are whole for whoever reads the task."""

import json
from typing import Any

import asyncpg
import pytest

from schemas.records import TaskId
from sinks.queries import query
from sinks.reads.reader import Reader
from sinks.writer import Writer
from tests.sinks.building import ALog, write_all

QUESTION = "why? " * 4_000
"""20 KB, in the task's input, and so in that of its first step."""
TASK = TaskId("task_1")


def a_log_of(given: str) -> ALog:
    log = ALog()
    log.create(TASK, given=json.dumps({"query": given}))
    log.run_to_the_end(TASK)
    return log


async def stored_steps(database: str) -> list[dict[str, Any]]:
    conn = await asyncpg.connect(database)
    found = await conn.fetchval("SELECT steps FROM ai_orchestrator.tasks")
    await conn.close()
    return list(json.loads(found))


@pytest.mark.parametrize("batches", [(), (1, 2, 3)])
async def test_the_row_of_a_task_names_large_documents_of_its_steps_and_has_small_ones(
    database: str, writer: Writer, batches: tuple[int, ...]
) -> None:
    await write_all(writer, a_log_of(QUESTION).events, batches)

    retrieve, generate = await stored_steps(database)
    assert (retrieve["input"], retrieve["omitted"]) == (None, ["input"])
    assert retrieve["output"] is not None
    assert (generate["input"], generate["omitted"]) == (None, ["input"])


async def test_small_documents_are_in_the_row(database: str, writer: Writer) -> None:
    await write_all(writer, a_log_of("why?").events)

    steps = await stored_steps(database)
    assert [step["input"]["query"] for step in steps] == ["why?"] * 2
    assert not any("omitted" in step for step in steps)


async def test_a_reader_gets_the_steps_with_all_documents(writer: Writer, reader: Reader) -> None:
    await write_all(writer, a_log_of(QUESTION).events)

    row = await reader.task(TASK)
    assert row is not None
    steps = json.loads(row.steps)
    assert [step["input"]["query"] for step in steps] == [QUESTION] * 2
    assert not any("omitted" in step for step in steps)


async def test_a_row_that_an_earlier_version_wrote_whole_is_no_difference(
    database: str, writer: Writer
) -> None:
    await write_all(writer, a_log_of(QUESTION).events)
    before = await digests(database)
    conn = await asyncpg.connect(database)
    await conn.execute(
        "UPDATE ai_orchestrator.tasks t"
        " SET steps = (SELECT s.steps FROM ai_orchestrator.steps_of(t.id, t.run) s)"
    )
    await conn.close()

    assert "omitted" not in (await stored_steps(database))[0]
    assert await digests(database) == before


async def digests(database: str) -> list[tuple[Any, ...]]:
    """What `orchestrator sink verify` compares."""
    conn = await asyncpg.connect(database)
    rows = await conn.fetch(query("digests"), [0], [0])
    await conn.close()
    return [tuple(row) for row in rows]
