"""Temporal: a workflow of two activities, on one task queue, in worker processes."""

import asyncio
import os
import sys
import uuid
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

with workflow.unsafe.imports_passed_through():
    import given

QUEUE = "bench"
AT_ONCE = 64
COMPLETED = "ExecutionStatus = 'Completed'"
LIMIT = timedelta(seconds=60)


@activity.defn
async def first(payload: str) -> str:
    """Step 1."""
    return given.FIRST


@activity.defn
async def second(payload: str) -> str:
    """Step 2."""
    return given.SECOND


@workflow.defn
class Bench:
    """Both steps, each in the history before the next."""

    @workflow.run
    async def run(self, payload: str) -> str:
        """The result of step 2."""
        output = await workflow.execute_activity(first, payload, start_to_close_timeout=LIMIT)
        return await workflow.execute_activity(second, output, start_to_close_timeout=LIMIT)


async def connect() -> Client:
    """A client of this run's server."""
    return await Client.connect(given.address("temporal"))


def prepare() -> None:
    """Nothing: the server has its schema and a namespace."""


async def fill() -> None:
    """Start all workflows, which nobody runs yet."""
    client = await connect()
    ids = [str(uuid.uuid4()) for _ in range(given.TASKS)]
    left = list(ids)

    async def start() -> None:
        while left:
            await client.start_workflow(Bench.run, given.INPUT, id=left.pop(), task_queue=QUEUE)

    await asyncio.gather(*(start() for _ in range(AT_ONCE)))
    given.keep_ids(ids)


async def work() -> None:
    """Run workflows and activities until this process is ended."""
    runner = {} if given.SETTINGS["sandbox"] else {"workflow_runner": UnsandboxedWorkflowRunner()}
    await Worker(
        await connect(),
        task_queue=QUEUE,
        workflows=[Bench],
        activities=[first, second],
        **runner,
        **given.SETTINGS["worker"],
    ).run()


def wait() -> None:
    """Until every workflow completed, as the list of workflows has it."""
    with asyncio.Runner() as runner:
        client = runner.run(connect())
        given.wait_for(lambda: runner.run(client.count_workflows(COMPLETED)).count, given.TASKS)


async def read() -> int:
    """Status, result and history of each workflow, by Temporal's own client."""
    client = await connect()
    right = 0
    for chunk in given.chunks(given.ids()):
        right += sum(await asyncio.gather(*(_is_right(client, i) for i in chunk)))
    return right


async def _is_right(client: Client, workflow_id: str) -> bool:
    handle = client.get_workflow_handle(workflow_id)
    if (await handle.describe()).status != WorkflowExecutionStatus.COMPLETED:
        return False
    done = "activity_task_completed_event_attributes"
    steps = [
        await client.data_converter.decode(getattr(event, done).result.payloads)
        async for event in handle.fetch_history_events()
        if event.HasField(done)
    ]
    return steps == [[given.FIRST], [given.SECOND]] and await handle.result() == given.SECOND


if __name__ == "__main__":
    given.run(
        {
            "prepare": prepare,
            "fill": lambda: asyncio.run(fill()),
            "work": lambda: asyncio.run(work()),
            "wait": wait,
            "read": lambda: asyncio.run(read()),
        }
    )
    # A thread of the library may want the interpreter while that is taken down, which aborts
    # the process after its work was done: the run would be void.
    sys.stdout.flush()
    os._exit(0)
