"""Reads of histories take the tenant's slots of reads, each call one, and never two at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.api.access.caller import Caller
from orchestrator.api.errors import ApiError
from orchestrator.api.limits.settings import ApiLimitsSettings
from orchestrator.api.limits.tenants import TenantLimits
from orchestrator.api.replica.live_task import LiveTask
from orchestrator.api.replica.log_scan import LogScan
from orchestrator.api.replica.parts import Parts
from orchestrator.api.settings import ApiSettings
from orchestrator.api.tasks.histories import TaskHistories
from orchestrator.api.tasks.queries import TaskQueries
from orchestrator.api.tasks.watch import TaskWatch
from schemas.codec import encode
from schemas.records import TaskEvent, TaskId
from schemas.topics import Topics, TopicsSettings
from sinks.errors import SinkUnavailableError
from streams.settings import KafkaSettings
from tests.sinks.building import ALog

TASK = TaskId("task_1")
WAIT_S = 30.0


async def until(condition: Callable[[], object]) -> None:
    """Let the other tasks run until this holds."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


class Places:
    """A live task without its beginning, Postgres that is down, and the log that has all."""

    def __init__(self) -> None:
        made = ALog()
        made.create(TASK)
        self.events_of_log = [logged.event for logged in made.events]
        whole = LiveTask(0, begun=self.events_of_log[0])
        for event in self.events_of_log:
            whole.add(event, encode(event))
        self.known = LiveTask(0, base=whole.folded().task)
        self.inside = 0
        self.most = 0
        self.go_on = asyncio.Event()

    async def down(self, task_id: TaskId, tenant_id: str | None = None) -> Any:
        raise SinkUnavailableError("down")

    async def events(self, task_id: TaskId, tenant_id: str) -> list[TaskEvent]:
        """The log, as slow as the test wants."""
        self.inside += 1
        self.most = max(self.most, self.inside)
        await self.go_on.wait()
        self.inside -= 1
        return self.events_of_log

    def parts(self) -> Parts:
        """These places, with one read at a time for each tenant."""
        limits = ApiLimitsSettings(tenant_reads_max=1)
        found = SimpleNamespace(
            settings=ApiSettings(),
            live=SimpleNamespace(task=lambda _: self.known, accepted=lambda _: None),
            projection=SimpleNamespace(task=self.down, logs=self.down, steps=self.down),
            log_scan=self,
            tenants=TenantLimits(limits, cast(Any, None)),
        )
        return cast(Parts, found)


def reads_of(parts: Parts) -> dict[str, Callable[[Caller], Coroutine[Any, Any, object]]]:
    """The calls that may read a history from elsewhere."""
    queries = TaskQueries(parts)
    watch = TaskWatch(parts, queries)
    histories = TaskHistories(queries, parts.tenants.reads)
    return {
        "get": lambda caller: queries.get(caller, TASK),
        "history": lambda caller: histories.history(caller, TASK),
        "watch": lambda caller: watch._look(caller, TASK, 0),
    }


@pytest.mark.parametrize("name", ["get", "history", "watch"])
async def test_histories_are_read_one_after_the_other(name: str) -> None:
    places = Places()
    read = reads_of(places.parts())[name]
    tenant = places.known.tenant_id
    async with asyncio.timeout(WAIT_S):
        both = [asyncio.create_task(read(Caller(tenant, "test"))) for _ in range(2)]
        await until(lambda: places.inside)
        for _ in range(20):  # the second one has its chance
            await asyncio.sleep(0)
        places.go_on.set()
        await asyncio.gather(*both)

    assert places.most == 1


class Scans(LogScan):
    """Scans that last until the test lets them end."""

    def __init__(self) -> None:
        super().__init__(KafkaSettings(), Topics(TopicsSettings()))
        self.running: list[TaskId] = []
        self.go_on = asyncio.Event()

    async def _scan(self, task_id: TaskId) -> list[TaskEvent]:
        self.running.append(task_id)
        await self.go_on.wait()
        return []


async def test_a_tenant_that_reads_the_log_leaves_room_for_others() -> None:
    scans = Scans()
    async with asyncio.timeout(WAIT_S):
        noisy = [asyncio.create_task(scans.events(TASK, "noisy")) for _ in range(5)]
        await until(lambda: scans.running)
        other = asyncio.create_task(scans.events(TaskId("task_2"), "other"))
        await until(lambda: "task_2" in scans.running)
        assert scans.running == [TASK, "task_2"]
        scans.go_on.set()
        await asyncio.gather(*noisy, other)


async def test_a_tenant_with_too_many_reads_of_the_log_is_refused() -> None:
    scans = Scans()
    async with asyncio.timeout(WAIT_S):
        noisy = [asyncio.create_task(scans.events(TASK, "noisy")) for _ in range(11)]
        await until(lambda: scans.running)
        with pytest.raises(ApiError) as refused:
            await scans.events(TASK, "noisy")
        scans.go_on.set()
        await asyncio.gather(*noisy)
    assert refused.value.code == "WORK_LIMITED"
