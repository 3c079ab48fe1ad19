"""A call that creates a task and waits for it: it looks when memory has the task. No servers."""

import asyncio
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.api.access.caller import Caller
from orchestrator.api.tasks.queries import TaskQueries
from orchestrator.api.tasks.receipt import Answered, Receipt
from orchestrator.api.tasks.requests import CreateTask
from orchestrator.api.tasks.views.task import TaskView, accepted_view
from orchestrator.api.use_cases import UseCases
from schemas.records import Json, Millis, TaskCreated, TaskId
from streams.errors import KafkaUnavailableError

CALLER = Caller("acme", "test")
TASK = accepted_view(
    TaskCreated(
        task_id=TaskId("t"), tenant_id="acme", type="rag", input=Json("{}"), created_at=Millis(0)
    )
)


class Memory(TaskQueries):
    """Notes what is done, in its order."""

    def __init__(self, reads: object) -> None:
        self.done: list[object] = []
        self._reads = reads
        settings = SimpleNamespace(answer_timeout_s=0.01)
        self._parts = cast("Any", SimpleNamespace(follower=self, settings=settings))

    async def read_up_to(self, *place: object) -> None:
        self.done.append(place)
        if isinstance(self._reads, Exception):
            raise self._reads
        if self._reads is None:
            await asyncio.Event().wait()

    async def wait(self, caller: Caller, task_id: str, timeout_s: float) -> TaskView:
        self.done.append("look")
        return TASK

    async def create(self, caller: Caller, request: CreateTask) -> Answered:
        self.done.append("create")
        return Answered(task=TASK, receipt=Receipt(topic="created", partition=2, offset=7))


@pytest.mark.parametrize(
    "reads",
    [
        pytest.param(True, id="the record was read"),
        pytest.param(None, id="it is not read in time"),
        pytest.param(KafkaUnavailableError("away"), id="no log is followed"),
    ],
)
async def test_a_wait_looks_for_its_new_task_after_the_record_was_read(reads: object) -> None:
    memory = Memory(reads)
    access = SimpleNamespace(while_valid=lambda _caller, work: work)
    use: Any = SimpleNamespace(
        tenants=SimpleNamespace(wait=lambda _tenant, _timeout_s: nullcontext()),
        creation=memory,
        queries=memory,
        access=access,
    )
    use._wait = lambda *given: UseCases._wait(use, *given)
    async with asyncio.timeout(10):
        await UseCases.create_and_wait(use, CALLER, CreateTask(type="rag"), 5.0)

    assert memory.done == ["create", ("created", 2, 7), "look"]
