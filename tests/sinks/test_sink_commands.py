"""Commands about the projection print the same facts as text and as JSON."""

import asyncio

from sinks.schema.migration import load_migrations
from sinks.writer import Writer
from tests.commands import Ended, run_command
from tests.sinks.building import ALog, write_all


async def command(database: str, *arguments: str) -> Ended:
    return await asyncio.to_thread(run_command, arguments, {"ORCH_POSTGRES_DSN": database})


async def test_migrations_are_printed_as_json(empty_database: str) -> None:
    before = await command(empty_database, "migrate", "status", "-o", "json")
    applied = await command(empty_database, "migrate", "up", "-o", "json")
    again = await command(empty_database, "migrate", "up", "-o", "json")
    after = await command(empty_database, "migrate", "status", "-o", "json")
    names = [migration.name for migration in load_migrations()]

    assert before.documents == [
        {"name": name, "applied_at": None, "state": "pending"} for name in names
    ]
    assert (applied.document, again.document) == (
        {"applied": names, "newer": []},
        {"applied": [], "newer": []},
    )
    assert all(line["applied_at"].endswith("Z") for line in after.documents)


async def test_a_table_in_a_pipe_is_a_line_for_each_migration(database: str) -> None:
    shown = await command(database, "migrate", "status")
    lines = shown.out.splitlines()

    assert lines[0].split("  ")[0] == "status"
    assert [line.split()[0] for line in lines[1:]] == ["applied"] * len(load_migrations())


async def test_months_that_would_be_dropped_are_printed_as_json(
    writer: Writer, database: str
) -> None:
    log = ALog()
    log.create("t1")
    log.run_to_the_end("t1")
    await write_all(writer, log.events)
    dropping = ("sink", "retention", "--older-than", "2025-12-01", "-o", "json")
    dry = await command(database, *dropping, "--dry-run")
    done = await command(database, *dropping)
    again = await command(database, *dropping)

    months = ["tasks_y2025m10", "task_execution_logs_y2025m10"]
    assert [line["month"] for line in dry.documents] == months
    assert {line["dropped"] for line in dry.documents} == {False}
    assert {line["dropped"] for line in done.documents} == {True}
    assert again.out == ""
