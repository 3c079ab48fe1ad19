"""Kafka or Postgres really stopped, and back."""

import asyncio
import time
from urllib.parse import urlsplit

import grpc
import pytest

from orchestrator.api.server import Serving
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from tests.api.calling import ACME, WAIT_S, Replica, Served, a_body, a_create, as_tenant, refusal_of

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

# The promise is two seconds; a machine that does many things at once gets some more.
SOON_S = 8.0
HANGING = as_tenant("hanging")
REPLAY = {"ids": ["0" * 12], "reason": "a test", "dry_run": False}


def told(error: grpc.aio.AioRpcError) -> str:
    """All that an error over gRPC says."""
    return f"{error.details()} {error.trailing_metadata()}"


def check_no_inner_names(served: Served, *texts: str) -> None:
    """No answer names the servers behind the service, an account, or a file."""
    settings = served.running.system.settings
    dsn = urlsplit(settings.postgres.dsn)
    ports = [address.rpartition(":")[2] for address in settings.kafka.bootstrap.split(",")]
    inner = [
        *(settings.kafka.bootstrap, settings.postgres.dsn, f":{dsn.port}", dsn.path.strip("/")),
        *(f":{port}" for port in ports),
        *(str(dsn.password), "127.0.0.1", "localhost", "Traceback", ".py", "/tmp/", "Errno"),
    ]
    for text in texts:
        assert not [name for name in inner if name and name in text], text


async def test_without_postgres_tasks_are_created_executed_read_and_watched(
    served: Served, postgres_server: EmbeddedPostgres
) -> None:
    http = served.one.http()
    live = await served.one.stub.CreateTask(a_create(hold=True), metadata=ACME)
    await postgres_server.stop()
    try:
        done = await served.one.stub.CreateAndExecuteTask(
            a_create(request_id="while-postgres-is-away"), metadata=ACME, timeout=WAIT_S
        )
        got = await served.two.stub.GetTask(pb.GetTaskRequest(task_id=done.task.id), metadata=ACME)
        held = await http.get(f"/api/v1/tasks/{live.task.id}")
        call = served.two.stub.WatchTask(pb.WatchTaskRequest(task_id=done.task.id), metadata=ACME)
        kinds = [item.event.kind async for item in call if item.HasField("event")]
        began = time.monotonic()
        paths = ("/api/v1/tasks", "/api/v1/usage", f"/api/v1/tasks/{live.task.id}/logs")
        refused = [await http.get(path) for path in (*paths, "/api/v1/tasks/unknown")]
        took_s = time.monotonic() - began
        with pytest.raises(grpc.aio.AioRpcError) as over_grpc:
            await served.one.stub.ListTasks(pb.ListTasksRequest(), metadata=ACME)
        letters = await http.get("/api/v1/dead-letters")
    finally:
        await postgres_server.start()
    async with asyncio.timeout(WAIT_S):
        while (back := await http.get("/api/v1/tasks")).status_code != 200:
            assert back.status_code == 503

    assert done.task.status == got.task.status == pb.TASK_STATUS_COMPLETED
    assert len(got.task.steps) == 2
    assert held.json()["phase"] in ("accepted", "held")
    assert (kinds[0], kinds[-1]) == ("created", "completed")
    assert {answer.status_code for answer in refused} == {503}
    assert {answer.json()["code"] for answer in refused} == {"UNAVAILABLE"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert took_s < SOON_S * len(refused)
    check_no_inner_names(served, *(a.text for a in (*refused, letters)), told(over_grpc.value))


async def test_without_a_broker_calls_are_refused_soon_and_live_tasks_are_read(
    served: Served, third: Serving, kafka_server: EmbeddedKafka
) -> None:
    replica = Replica(*(int(a.split(":")[1]) for a in (third.grpc_address, third.http_address)))
    http = replica.http("hanging")
    live = await replica.stub.CreateTask(a_create(), metadata=HANGING)
    path = f"/api/v1/tasks/{live.task.id}"
    await _until_known(replica, live.task.id)
    await kafka_server.stop()
    try:
        began = time.monotonic()
        create = await http.post("/api/v1/tasks", json=a_body())
        with pytest.raises(grpc.aio.AioRpcError) as over_grpc:
            await replica.stub.CancelTask(
                pb.CancelTaskRequest(task_id=live.task.id), metadata=HANGING
            )
        missing = await http.get("/api/v1/tasks/unknown")
        took_s = time.monotonic() - began
        letters = await http.get("/api/v1/dead-letters")
        replayed = await http.post("/api/v1/dead-letters:replay", json=REPLAY)
        got = await http.get(path)
    finally:
        await kafka_server.start()

    texts = [a.text for a in (create, missing, letters, replayed)]
    check_no_inner_names(served, *texts, told(over_grpc.value))
    told_ = refusal_of(over_grpc.value)
    assert (create.status_code, create.json()["code"]) == (503, "UNAVAILABLE")
    assert create.headers["retry-after"]
    assert (told_.status, told_.reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
    assert told_.retry_after_s is not None
    assert missing.status_code == 503
    assert took_s < SOON_S * 3
    assert (got.status_code, got.json()["id"]) == (200, live.task.id)

    async with asyncio.timeout(WAIT_S * 2):
        while (back := await http.post("/api/v1/tasks", json=a_body(hold=True))).status_code != 201:
            assert back.status_code == 503
        # Its owner has to come back, too; how soon it does by itself is not the service's.
        served.running.system.child("router").kill()
        while (ended := await http.post(f"{path}:cancel")).status_code != 200:
            assert ended.status_code == 503
        wanted = f"/api/v1/tasks/{back.json()['task']['id']}?min_sequence=1"
        while (known := await http.get(wanted)).status_code != 200:
            assert known.status_code == 503
    await replica.close()
    assert known.json()["phase"] == "held"


async def _until_known(replica: Replica, task_id: str) -> None:
    """Ask until the replica has read the task's first event, however busy the machine is."""
    wanted = pb.GetTaskRequest(task_id=task_id, min_sequence=1)
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                await replica.stub.GetTask(wanted, metadata=HANGING)
            except grpc.aio.AioRpcError as refused:
                if refused.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            else:
                return
