"""Whatever is killed: no task is lost, none ends twice, and the rows equal the log."""

import asyncio
from collections.abc import Sequence

import pytest

from orchestrator.embedded.postgres import EmbeddedPostgres
from streams.admin import Admin
from tests.e2e.driving import Running, a_rag_task

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

TASKS = 150
END_S = 150.0


async def test_tasks_survive_the_kill_of_a_step_worker(running: Running) -> None:
    tasks = [a_rag_task("slow") for _ in range(TASKS)]
    ids = [task.task_id for task in tasks]
    await running.create(tasks)
    await running.until(lambda: len(running.calls_by_key(ids)) >= 20)

    running.system.child("step.retrieve").kill()

    in_flight = TASKS - len(await finished(running, ids))
    rows = await running.ended(ids, timeout_s=END_S)
    redelivered = [key for key, count in running.calls_by_key(ids).items() if count > 1]
    assert in_flight >= 100
    assert redelivered, "the kill hit no call: it proves nothing"
    assert {row["status"] for row in rows.values()} == {"completed"}
    await running.check(ids)


async def test_tasks_survive_the_kill_of_the_router(running: Running) -> None:
    tasks = [a_rag_task("slow") for _ in range(TASKS)]
    ids = [task.task_id for task in tasks]
    await running.create(tasks)
    await running.until(lambda: len(running.calls_by_key(ids)) >= 100)

    running.system.child("router").kill()

    in_flight = TASKS - len(await finished(running, ids))
    undone = await decided_but_not_committed(running, ids)
    rows = await running.ended(ids, timeout_s=END_S)
    assert in_flight >= 100
    assert undone > 0, "every input was committed: the kill proves nothing"
    assert {row["status"] for row in rows.values()} == {"completed"}
    await running.check(ids)


async def test_tasks_go_on_while_postgres_is_away_and_are_all_written_afterwards(
    running: Running, postgres_server: EmbeddedPostgres
) -> None:
    tasks = [a_rag_task() for _ in range(40)]
    ids = [task.task_id for task in tasks]
    loop = asyncio.get_running_loop()
    await postgres_server.stop()
    try:
        back_at = loop.time() + 20
        await running.create(tasks)
        await ended_in_the_log(running, ids)
        ended_early = loop.time() < back_at
        await running.until(lambda: loop.time() >= back_at)
    finally:
        await postgres_server.start()

    rows = await running.ended(ids, timeout_s=END_S)
    assert ended_early, "the tasks did not end before Postgres came back"
    assert {row["status"] for row in rows.values()} == {"completed"}
    await running.check(ids)


async def test_tasks_survive_the_kill_of_the_sink(running: Running) -> None:
    tasks = [a_rag_task("slow") for _ in range(50)]
    ids = [task.task_id for task in tasks]
    await running.create(tasks)
    await running.until(lambda: len(running.calls_by_key(ids)) >= 20)

    running.system.child("sink").kill()

    rows = await running.ended(ids, timeout_s=END_S)
    assert {row["status"] for row in rows.values()} == {"completed"}
    await running.check(ids)


async def finished(running: Running, ids: Sequence[str]) -> set[str]:
    """The tasks that ended, by the log."""
    wanted = set(ids)
    return {
        event["task_id"]
        for event in await running.events()
        if event["task_id"] in wanted and event["kind"] in ("completed", "failed", "cancelled")
    }


async def ended_in_the_log(running: Running, ids: Sequence[str]) -> None:
    async with asyncio.timeout(END_S):
        while len(await finished(running, ids)) < len(ids):  # noqa: ASYNC110
            await asyncio.sleep(0.2)  # the log is read anew each time


async def decided_but_not_committed(running: Running, ids: Sequence[str]) -> int:
    """Inputs that a new router gets although the killed one has decided them."""
    topics, wanted = running.topics, set(ids)
    partitions = running.system.settings.topics.partitions
    inputs = [(topic, p) for topic in topics.router_inputs for p in range(partitions)]
    async with Admin(running.system.settings.kafka) as admin:
        committed = await admin.committed("orchestrator.router", inputs)
    return sum(
        event["cause_offset"] >= committed.get((event["cause_topic"], event["cause_partition"]), 0)
        for event in await running.events()
        if event["task_id"] in wanted and event["cause_offset"] >= 0
    )
