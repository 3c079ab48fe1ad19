"""Another tenant's id is an unknown one, in words and in time, and no id can be squatted."""

import asyncio
import dataclasses
import uuid
from typing import Any

import msgspec
import pytest

from orchestrator.api.access.caller import Caller
from orchestrator.api.errors import ApiError
from orchestrator.api.server import Serving
from orchestrator.api.tasks.creation import TaskCreation
from orchestrator.api.tasks.queries import TaskQueries
from orchestrator.api.tasks.requests import CreateTask
from schemas.codec import encode
from schemas.records import TaskId
from sinks.errors import SinkUnavailableError
from tasks.identity import task_id_for
from tests.api.calling import ACME, WAIT_S, Served, a_body, a_create, as_tenant
from tests.e2e.driving import a_rag_task

pytestmark = pytest.mark.asyncio(loop_scope="session")

OTHER = Caller("other", "test")


class Noted:
    """Passes calls on, and keeps their names; every answer about rows may be an outage."""

    def __init__(self, inner: Any, calls: list[str], *, away: bool = False) -> None:
        self._inner, self._calls, self._away = inner, calls, away

    def __getattr__(self, name: str) -> Any:
        async def noted(*given: Any, **named: Any) -> Any:
            self._calls.append(name)
            if self._away:
                raise SinkUnavailableError("away")
            return await getattr(self._inner, name)(*given, **named)

        return noted


async def looked_for(serving: Serving, task_id: str, *, away: bool = False) -> tuple[str, str]:
    """How a task is looked for, and the words of the answer."""
    calls: list[str] = []
    projection: Any = Noted(serving.parts.projection, calls, away=away)
    follower: Any = Noted(serving.parts.follower, calls)
    parts = dataclasses.replace(serving.parts, projection=projection, follower=follower)
    with pytest.raises(ApiError) as refused:
        await TaskQueries(parts).get(OTHER, task_id)
    words = f"{refused.value.code} {refused.value}".replace(task_id, "ID")
    return " ".join(calls), words


@pytest.mark.parametrize("away", [False, True], ids=["", "while Postgres is away"])
async def test_another_tenant_s_task_is_looked_for_as_if_it_did_not_exist(
    served: Served, third: Serving, away: bool
) -> None:
    held = await served.one.stub.CreateTask(a_create(hold=True), metadata=ACME)
    done = await served.one.stub.CreateAndExecuteTask(a_create(), metadata=ACME, timeout=WAIT_S)
    await served.running.ended([done.task.id])
    await TaskQueries(third.parts).get(Caller("acme", "test"), held.task.id)
    unknown = await looked_for(third, f"task_{uuid.uuid4()}", away=away)

    assert unknown[0] == ("task caught_up" if away else "task caught_up next_offsets task")
    assert await looked_for(third, held.task.id, away=away) == unknown
    assert await looked_for(third, done.task.id, away=away) == unknown


async def test_a_squatted_id_neither_leaks_nor_blocks(served: Served) -> None:
    key = str(uuid.uuid4())
    mine, topic = task_id_for("acme", key), served.running.topics.task_created
    squats = [
        a_rag_task("other", task_id=mine, hold=True),
        a_rag_task("other", task_id=mine, hold=True, idempotency_key=key),
    ]
    records = [(mine.encode(), encode(squat)) for squat in squats]
    places = await served.running.publish(topic, records)
    created = await served.one.shared("acme").post(
        "/api/v1/tasks", json=a_body(hold=True, request_id=key)
    )
    for place in places:
        await served.running.dead_letter(topic, place)
    again = await served.two.stub.CreateTask(a_create(hold=True, request_id=key), metadata=ACME)
    theirs = await served.one.shared("other").get(f"/api/v1/tasks/{mine}")

    assert created.status_code == 201, created.text
    assert created.json()["task"]["id"] == again.task.id == mine
    assert again.task.tenant_id == "acme"
    assert again.replayed
    assert theirs.status_code == 404


async def test_a_create_that_meets_another_tenant_s_task_is_refused_without_its_content(
    served: Served, third: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As before the rule of ids, when such a task could begin."""
    held = await served.one.stub.CreateTask(a_create(hold=True), metadata=as_tenant("other"))
    done = await served.one.stub.CreateAndExecuteTask(
        a_create(), metadata=as_tenant("other"), timeout=WAIT_S
    )
    await served.running.ended([done.task.id])
    await TaskQueries(third.parts).get(OTHER, held.task.id)
    creation = TaskCreation(third.parts, TaskQueries(third.parts))
    monkeypatch.setattr("orchestrator.api.tasks.creation.admit", lambda *_, **__: None)
    for task_id in (held.task.id, done.task.id):
        monkeypatch.setattr(
            "orchestrator.api.tasks.creation.task_id_for", lambda *_, i=task_id: TaskId(i)
        )
        wanted = CreateTask(type="rag", input=a_raw(), request_id="guessed")
        with pytest.raises(ApiError) as refused:
            async with asyncio.timeout(WAIT_S):
                await creation.create(Caller("acme", "test"), wanted)

        assert refused.value.code == "IDEMPOTENCY_MISMATCH"
        assert "other" not in str(refused.value).replace("another", "")


def a_raw() -> Any:
    return msgspec.Raw(msgspec.json.encode(a_body()["input"]))
