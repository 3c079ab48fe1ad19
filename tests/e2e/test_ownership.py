"""What the owner of a task promises about commands and timers."""

import asyncio
import json

import pytest

from orchestrator.layout import ROUTER
from schemas.headers import header_text
from schemas.records import CommandKind
from streams.kafka.admin import Admin
from streams.kafka.group_note import read_epoch
from streams.kafka.partitioner import partition_of
from tests.e2e.driving import WAIT_S, Running, a_rag_task
from tests.e2e.ordering import an_order, kinds, order

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_command_for_a_task_that_nobody_creates_is_dead_lettered(
    running: Running,
) -> None:
    [position] = await order(running, an_order(a_rag_task(), CommandKind.CANCEL))

    letter = await running.dead_letter(running.topics.task_commands, position)
    assert header_text(letter.headers, "__dlq.errors.code") == "TASK_UNKNOWN"


async def test_a_held_task_waits_for_its_execute(running: Running) -> None:
    task = a_rag_task(hold=True)
    await running.create([task])
    await order(running, an_order(task, CommandKind.EXECUTE))

    row = (await running.ended([task.task_id]))[task.task_id]
    assert row["status"] == "completed"
    assert (await kinds(running, task))[:2] == ["created", "execute_requested"]


async def test_a_failed_task_can_be_retried_from_its_first_step_without_a_result(
    running: Running,
) -> None:
    task = a_rag_task("mended")
    await running.create([task])
    row = (await running.ended([task.task_id]))[task.task_id]
    assert row["status"] == "failed"
    await order(running, an_order(task, CommandKind.RETRY))

    await running.row_until(task.task_id, lambda found: found["status"] == "completed")
    calls = [c["idempotency_key"] for c in running.calls() if c["task_id"] == task.task_id]
    assert [key.removeprefix(f"{task.task_id}/") for key in calls] == [
        "1/retrieve/1",
        "1/generate/1",
        "2/generate/1",
    ]
    await running.check([task.task_id])


async def test_a_scheduled_retry_survives_the_kill_of_the_router(running: Running) -> None:
    task = a_rag_task("waiting-long")
    await running.create([task])
    await running.row_until(task.task_id, lambda found: found["phase"] == "retry_scheduled")
    running.system.child("router").kill()

    row = (await running.ended([task.task_id]))[task.task_id]
    calls = running.calls_by_key([task.task_id])
    assert row["status"] == "completed"
    assert calls[f"{task.task_id}/1/retrieve/2"] >= 1
    await running.check([task.task_id])


async def test_the_router_commits_its_epoch_beside_its_offsets(running: Running) -> None:
    task, settings, created = a_rag_task(), running.system.settings, running.topics.task_created
    await running.create([task])
    await running.ended([task.task_id])
    partition = partition_of(task.task_id.encode(), settings.topics.partitions)

    async with Admin(settings.kafka) as admin, asyncio.timeout(WAIT_S):
        while True:
            found = await admin.commits(settings.topics.prefix + ROUTER, [(created, partition)])
            if (created, partition) in found:
                break
    epoch = read_epoch(found[created, partition].metadata)
    assert epoch is not None
    assert epoch >= 1


async def test_a_new_owner_begins_at_the_snapshots_of_the_old_one(running: Running) -> None:
    task = a_rag_task(hold=True, timeout_ms=3_600_000)
    await running.create([task])
    await running.row_until(task.task_id, lambda found: found["phase"] == "held")
    await running.until_state_holds(task.task_id)
    running.system.child("router").kill()
    await order(running, an_order(task, CommandKind.EXECUTE))

    row = (await running.ended([task.task_id]))[task.task_id]
    assert row["status"] == "completed"
    takeovers = [
        json.loads(line)
        for line in (running.logs / "router.log").read_text().splitlines()
        if '"partition_taken_over"' in line
    ]
    assert max(takeover["tasks"] for takeover in takeovers[-4:]) >= 1
    await running.check([task.task_id])
