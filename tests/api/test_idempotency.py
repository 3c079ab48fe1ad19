"""One task a key, and nobody who was told "created" is told "not found"."""

import asyncio
import json
import os
import random
import uuid

import grpc
import pytest

from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from tests.api.calling import ACME, WAIT_S, Served, a_body, a_create, as_tenant, refusal_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

# `TEST_SCALE=4` is the size of the promise; a usual run takes a part of it.
SCALE = int(os.environ.get("TEST_SCALE", "1"))
CREATES = 1_000
READS = 500 * SCALE
AT_ONCE = 32


async def test_racing_creates_on_two_replicas_make_one_task_a_key(served: Served) -> None:
    keys = [str(uuid.uuid4()) for _ in range(CREATES * 8 // 10)]
    asked = keys + random.sample(keys, CREATES - len(keys))
    random.shuffle(asked)
    slots = asyncio.Semaphore(AT_ONCE)
    metadata = as_tenant("crowd")

    async def create(index: int, key: str) -> tuple[str, str, bool]:
        async with slots:
            stub = served.replicas[index % 2].stub
            request = a_create(hold=True, request_id=key, input=json.dumps({"query": key}))
            answer = await stub.CreateTask(request, metadata=metadata, timeout=WAIT_S)
            return key, answer.task.id, answer.replayed

    answers = await asyncio.gather(*(create(i, key) for i, key in enumerate(asked)))

    tasks: dict[str, set[str]] = {}
    for key, task_id, _ in answers:
        tasks.setdefault(key, set()).add(task_id)
    assert {len(ids) for ids in tasks.values()} == {1}
    assert sum(not replayed for _, _, replayed in answers) == len(keys)


async def test_a_task_that_was_acknowledged_is_found_on_every_replica(served: Served) -> None:
    slots = asyncio.Semaphore(AT_ONCE)
    metadata = as_tenant("crowd")

    async def create_then_get(index: int) -> bool:
        async with slots:
            one, two = served.replicas[index % 2], served.replicas[(index + 1) % 2]
            request = a_create(hold=True)
            made = await one.stub.CreateTask(request, metadata=metadata, timeout=WAIT_S)
            wanted = pb.GetTaskRequest(task_id=made.task.id)
            got = await two.stub.GetTask(wanted, metadata=metadata, timeout=WAIT_S)
            return bool(got.task.id == made.task.id)

    assert all(await asyncio.gather(*(create_then_get(i) for i in range(READS))))


async def test_another_content_with_the_same_key_is_refused_and_the_same_is_replayed(
    served: Served,
) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    http = served.one.http()
    first = await http.post("/api/v1/tasks", json=a_body(), headers=key)
    again = await served.two.http().post("/api/v1/tasks", json=a_body(), headers=key)
    other = await http.post("/api/v1/tasks", json=a_body(input={"query": "other"}), headers=key)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.two.stub.CreateTask(
            a_create(request_id=key["Idempotency-Key"], input='{"query": "other"}'), metadata=ACME
        )

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["task"]["id"] == first.json()["task"]["id"]
    assert (other.status_code, other.json()["code"]) == (409, "IDEMPOTENCY_MISMATCH")
    told = refusal_of(refused.value)
    assert (told.status, told.field) == (grpc.StatusCode.ALREADY_EXISTS, "request_id")


async def test_a_key_is_known_after_its_task_has_ended_and_left_memory(served: Served) -> None:
    key = str(uuid.uuid4())
    request = a_create(request_id=key)
    done = await served.one.stub.CreateAndExecuteTask(request, metadata=ACME, timeout=WAIT_S)
    await served.running.ended([done.task.id])
    again = await served.two.stub.CreateTask(request, metadata=ACME)

    assert again.replayed
    assert again.task.status == pb.TASK_STATUS_COMPLETED


async def test_a_batch_with_one_bad_task_creates_none(served: Served) -> None:
    good = str(uuid.uuid4())
    tasks = [a_body(request_id=good), a_body(priority=11)]
    wrong = await served.one.http().post("/api/v1/tasks:batch", json={"tasks": tasks})
    unknown = [a_body(request_id=good), a_body(type="nothing")]
    refused = await served.one.http().post("/api/v1/tasks:batch", json={"tasks": unknown})
    created = await served.one.http().post("/api/v1/tasks", json=a_body(request_id=good))

    assert (wrong.status_code, refused.status_code) == (400, 400)
    assert refused.json()["code"] == "TASK_TYPE_UNKNOWN"
    assert refused.json()["errors"][0]["name"] == "tasks[1].type"
    assert created.status_code == 201
