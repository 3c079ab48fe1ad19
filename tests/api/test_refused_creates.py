"""A command for a task whose creation was refused is answered with the code of the refusal."""

import asyncio
from typing import Any

import pytest

from schemas.codec import encode
from schemas.topics import dlq
from streams.kafka.log_reader import LogReader
from tests.api.calling import WAIT_S, Served
from tests.commands import run_command
from tests.e2e.driving import a_rag_task

pytestmark = pytest.mark.asyncio(loop_scope="session")

ORDERS: list[tuple[str, dict[str, Any]]] = [
    ("cancel", {}),
    ("execute", {}),
    ("retry", {}),
    ("setPriority", {"priority": 3}),
]


async def a_refused_create(served: Served) -> str:
    task = a_rag_task("acme", type="poetry")
    topic = served.running.topics.task_created
    [place] = await served.running.publish(topic, [(task.task_id.encode(), encode(task))])
    await served.running.dead_letter(topic, place)
    return str(task.task_id)


async def letters_of_commands(served: Served) -> int:
    running = served.running
    topic = dlq(running.topics.task_commands)
    async with LogReader(running.system.settings.kafka, client_id="test") as reader:
        places = await reader.all_partitions([topic])
        return sum((await reader.ends(places)).values())


async def test_each_command_has_the_code_of_the_refusal_and_adds_no_dead_letter(
    served: Served,
) -> None:
    ids = [await a_refused_create(served) for _ in range(3)]
    before = await letters_of_commands(served)
    answers = [
        await replica.shared("acme").post(f"/api/v1/tasks/{task_id}:{verb}", json=body)
        for task_id in ids
        for replica in served.replicas
        for verb, body in ORDERS
    ]
    # Longer than a command for an unknown task is held.
    await asyncio.sleep(11)

    told = {(answer.status_code, answer.json()["code"]) for answer in answers}
    assert told == {(404, "TASK_TYPE_UNKNOWN")}
    assert await letters_of_commands(served) == before


async def test_the_command_line_says_the_same_with_the_service_and_without(served: Served) -> None:
    task_id = await a_refused_create(served)
    before = await letters_of_commands(served)
    variables = {
        name: value
        for name, value in served.running.system.environment.items()
        if name.startswith("ORCH_")
    }
    for arguments in (
        ("task", "cancel", task_id, "--direct"),
        ("task", "cancel", task_id, "--direct", "--tenant", "acme"),
    ):
        async with asyncio.timeout(WAIT_S):
            ended = await asyncio.to_thread(run_command, arguments, variables)
        assert (ended.status, "TASK_TYPE_UNKNOWN" in ended.err) == (1, True), ended
    await asyncio.sleep(11)

    assert await letters_of_commands(served) == before


async def test_a_command_that_comes_before_the_refusal_waits_for_it(served: Served) -> None:
    running, ids = served.running, list[str]()
    before = await letters_of_commands(served)
    answers = []
    for _ in range(5):
        task = a_rag_task("acme", type="poetry")
        await running.publish(running.topics.task_created, [(task.task_id.encode(), encode(task))])
        ids.append(str(task.task_id))
        path = f"/api/v1/tasks/{task.task_id}:cancel"
        answers.append(await served.one.shared("acme").post(path, json={}))
    await asyncio.sleep(11)

    assert {(a.status_code, a.json()["code"]) for a in answers} == {(404, "TASK_TYPE_UNKNOWN")}
    assert await letters_of_commands(served) == before
