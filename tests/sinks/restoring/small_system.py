"""Tasks of a small system, and the comparison of its rows with its log."""

import asyncio

from tests.commands import run_command
from tests.e2e.driving import Running, a_rag_task

TENANT = "default"
"""That of every caller of a service without keys."""
PARTITIONS = 2
"""More than one: the index treats the partition of the ledger of actions in another way."""


async def tasks_ended(running: Running) -> list[str]:
    """Run some tasks; return their ids when their rows say that they ended."""
    tasks = [a_rag_task(TENANT) for _ in range(8)]
    await running.create(tasks)
    return list(await running.ended([task.task_id for task in tasks]))


async def verified(running: Running) -> None:
    """Let ``orchestrator sink verify`` compare rows and counts with the log."""
    command = ("sink", "verify", "-o", "json")
    ended = await asyncio.to_thread(run_command, command, running.system.environment)
    assert ended.status == 0, ended
    assert ended.document["counted"] == PARTITIONS
