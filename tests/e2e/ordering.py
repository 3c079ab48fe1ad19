"""Gives orders to tasks of a running system, as its users do, and reads the answers."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from schemas.codec import encode
from schemas.records import CommandKind, Millis, TaskCommand, TaskCreated, TaskId
from streams.kafka.partitioner import partition_of
from tests.checker.wire import Value
from tests.e2e.driving import WAIT_S, Running, a_rag_task

ANSWERS = ("cancelled", "failed", "command_refused")
"""What is last in the log once a task was stopped, or could not be."""


def an_order(task: TaskCreated, kind: CommandKind, **changes: Any) -> TaskCommand:
    """A command about a task, of its own tenant."""
    fields: dict[str, Any] = {
        "command_id": str(uuid.uuid4()),
        "task_id": task.task_id,
        "tenant_id": task.tenant_id,
        "kind": kind,
        "actor": "a test",
        "issued_at": Millis(time.time_ns() // 1_000_000),
    }
    return TaskCommand(**(fields | changes))


async def order(running: Running, *orders: TaskCommand) -> list[tuple[int, int]]:
    """Publish orders; return their positions."""
    records = [(record.task_id.encode(), encode(record)) for record in orders]
    return await running.publish(running.topics.task_commands, records)


async def cancel(running: Running, tasks: Sequence[TaskCreated]) -> None:
    """Publish a cancel of each task."""
    await order(running, *(an_order(task, CommandKind.CANCEL) for task in tasks))


@asynccontextmanager
async def cancelled_after_a_failure(
    running: Running, tasks: Sequence[TaskCreated]
) -> AsyncIterator[None]:
    """If a test fails, cancel its tasks: their calls hold the slots that its rerun needs."""
    try:
        yield
    except Exception:
        await cancel(running, tasks)
        raise


async def history(running: Running, task: TaskCreated) -> list[Value]:
    """The accepted events of a task."""
    return [event for event in await running.events() if event["task_id"] == task.task_id]


async def kinds(running: Running, task: TaskCreated) -> list[str]:
    """The kinds of its accepted events."""
    return [event["kind"] for event in await history(running, task)]


def ended_calls(running: Running, task: TaskCreated) -> list[dict[str, Any]]:
    """How the calls for a task ended, in order."""
    return [call for call in running.ended_calls() if call["task_id"] == task.task_id]


async def everything_before_is_done(running: Running, tasks: Sequence[TaskCreated]) -> None:
    """Wait until all step commands that wait beside those of these tasks were begun.

    A task of the same partition and lane goes through after them: workers begin the commands
    of a partition of a lane in order, so a call that they make is in the call log then.
    """
    count = running.system.settings.topics.partitions
    markers = {}
    for task in tasks:
        wanted = partition_of(task.task_id.encode(), count), task.priority
        while wanted not in markers:
            marker = a_rag_task(priority=task.priority, task_id=TaskId(f"marker_{uuid.uuid4()}"))
            if partition_of(marker.task_id.encode(), count) == wanted[0]:
                markers[wanted] = marker
    await running.create(list(markers.values()))
    await running.ended([marker.task_id for marker in markers.values()])


@asynccontextmanager
async def without(running: Running, *names: str) -> AsyncIterator[None]:
    """Stop processes, and start them again at the end."""
    supervisor = running.system.supervisor
    try:
        await asyncio.gather(*(supervisor.stop(name) for name in names))
        yield
    finally:
        for name in names:
            await supervisor.start(name)


async def answered(running: Running, tasks: Sequence[TaskCreated]) -> dict[str, list[Value]]:
    """Wait until each task was stopped, or its cancel refused; return their histories."""
    histories: dict[str, list[Value]] = {task.task_id: [] for task in tasks}
    async with asyncio.timeout(WAIT_S):
        while not all(events and events[-1]["kind"] in ANSWERS for events in histories.values()):
            await asyncio.sleep(0.1)  # another process writes them
            histories = {task_id: [] for task_id in histories}
            for event in await running.events():
                if event["task_id"] in histories:
                    histories[event["task_id"]].append(event)
    return histories
