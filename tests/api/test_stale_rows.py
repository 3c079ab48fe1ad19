"""A live task whose beginning memory lacks, and a row that is older than that beginning."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.api.access.caller import Caller
from orchestrator.api.limits.settings import ApiLimitsSettings
from orchestrator.api.limits.tenants import TenantLimits
from orchestrator.api.replica.live_task import LiveTask
from orchestrator.api.replica.parts import Parts
from orchestrator.api.tasks.queries import TaskQueries
from schemas.codec import encode
from schemas.records import TaskEvent
from tests.api.test_task_finder import a_row
from tests.tasks.builders import Life, a_life

pytestmark = pytest.mark.asyncio


def a_life_in_its_second_step() -> Life:
    life = a_life()
    life.started()
    life.succeeded()
    life.started()
    return life


def parts_of(events: list[TaskEvent], row_sequence: int) -> tuple[LiveTask, Parts]:
    """A replica that began with a snapshot of all these events; Postgres has a first part."""
    whole = LiveTask(0, begun=events[0])
    for event in events:
        whole.add(event, encode(event))
    known = LiveTask(0, base=whole.folded().task)

    async def row(*_: object) -> Any:
        return a_row(row_sequence)

    async def no_attempts(*_: object) -> list[Any]:
        return []

    async def logged(*_: object) -> list[TaskEvent]:
        return events

    found = SimpleNamespace(
        live=SimpleNamespace(task=lambda _: known, accepted=lambda _: None),
        projection=SimpleNamespace(task=row, steps=no_attempts),
        log_scan=SimpleNamespace(events=logged),
        tenants=TenantLimits(ApiLimitsSettings(), cast(Any, None)),
    )
    return known, cast(Parts, found)


async def test_attempts_that_a_stale_row_does_not_have_are_read_from_the_log() -> None:
    known, parts = parts_of(a_life_in_its_second_step().events, row_sequence=1)
    caller = Caller(known.tenant_id, "test")
    view = await TaskQueries(parts).get(caller, known.task_id)

    assert view.sequence == known.sequence
    assert [(step.name, step.status) for step in view.steps] == [
        ("retrieve", "succeeded"),
        ("generate", "running"),
    ]
