"""`orchestrator sink`, on a log and a projection of its own."""

import asyncio
import re

import pytest
from typer.testing import CliRunner, Result

from agents.projection.projector import Projector
from orchestrator.cli.app import app
from tests.agents.projection.projecting import Sink, a_marker
from tests.sinks.building import ALog


async def run(sink: Sink, *arguments: str) -> Result:
    environment = {
        "ORCH_KAFKA_BOOTSTRAP": sink.parts.kafka.bootstrap,
        "ORCH_TOPICS_PREFIX": sink.parts.topics.settings.prefix,
        "ORCH_POSTGRES_DSN": sink.postgres.dsn,
    }
    return await asyncio.to_thread(CliRunner().invoke, app, ["sink", *arguments], env=environment)


@pytest.fixture
async def written(sink: Sink) -> Sink:
    """A sink that has written one completed task."""
    log = ALog()
    log.create("t1")
    log.run_to_the_end("t1")
    events = [a_marker(), *(logged.event for logged in log.events)]
    await sink.append(events)
    await sink.commit(len(events))
    await Projector(0, sink.parts).open()
    return sink


async def test_verify_exits_1_with_a_list_and_a_rebuild_brings_the_hash_back(
    written: Sink,
) -> None:
    right = await run(written, "verify")
    await written.execute("UPDATE ai_orchestrator.tasks SET status = 'failed'")
    wrong = await run(written, "verify")
    rebuilt = await run(written, "rebuild")
    again = await run(written, "verify")

    assert (right.exit_code, wrong.exit_code, rebuilt.exit_code) == (0, 1, 0)
    assert re.search(r"^differs: task .+ of t1$", wrong.stdout, re.MULTILINE)
    assert wrong.stdout.endswith("1 differences\n")
    assert "1 tasks rebuilt\n1 rows written to tasks\n" in rebuilt.stdout
    assert again.stdout == right.stdout
    assert [ended.stderr for ended in (right, wrong, rebuilt, again)] == [""] * 4
    assert re.search(r"^hash [0-9a-f]{64}$", right.stdout, re.MULTILINE)


async def test_retention_drops_old_months_after_a_dry_run_that_only_says_so(
    written: Sink,
) -> None:
    said = await run(written, "retention", "--older-than", "30d", "--dry-run")
    done = await run(written, "retention", "--older-than", "30d")

    assert "would drop tasks_y2025m10" in said.stdout
    assert "dropped tasks_y2025m10" in done.stdout
    assert await written.statuses("t1") == []


@pytest.mark.parametrize("wrong", ["30", "1y", "0d", "-3d", "23h", "2999-01-01"])
async def test_an_age_that_is_no_number_of_days_is_refused(sink: Sink, wrong: str) -> None:
    ended = await run(sink, "retention", f"--older-than={wrong}")

    assert ended.exit_code == 2
    assert f"{wrong!r}" in ended.stderr
