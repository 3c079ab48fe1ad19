"""Two replicas, each restarted under callers: no caller notices, or each knows what to do."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc
import httpx
import pytest

from orchestrator.api.settings import ApiSettings
from orchestrator.api.tls.settings import ApiClientSettings
from orchestrator.cli.task.ports import TaskRequest
from orchestrator.cli.task.served import ServedTasks
from orchestrator.cli.task.service_client import open_service
from orchestrator.local.dev.fork import Fork
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.records import Json
from tests.api.calling import (
    KEYS,
    QUESTION,
    WAIT_S,
    Replica,
    Served,
    a_body,
    a_create,
    as_tenant,
    free_ports,
    refusal_of,
)

pytestmark = [
    pytest.mark.pages,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(400),
]

HANGING = as_tenant("hanging")


@dataclass
class Pair:
    """Two processes of the service, beside those of the other tests."""

    replicas: list[Replica]
    forks: list[Fork]

    async def restart(self, place: int) -> None:
        await self.forks[place].stop(20)
        self.forks[place].start()
        await self.replicas[place].wait_ready()


@asynccontextmanager
async def a_pair(served: Served, drain_s: float) -> AsyncIterator[Pair]:
    system, ports = served.running.system, free_ports(4)
    plain = {name: text for name, text in os.environ.items() if not name.startswith("ORCH_")}
    replicas = [Replica(ports[0], ports[1]), Replica(ports[2], ports[3])]
    forks = [
        Fork(
            f"rolling-{place}",
            ["serve"],
            env={
                **plain,
                **system.environment,
                "ORCH_API_GRPC_PORT": str(ports[2 * place]),
                "ORCH_API_HTTP_PORT": str(ports[2 * place + 1]),
                "ORCH_API_DRAIN_S": str(drain_s),
            },
            log_path=served.running.logs / f"rolling-{place}.log",
        )
        for place in (0, 1)
    ]
    for fork in forks:
        fork.start()
    try:
        for replica in replicas:
            await replica.wait_ready()
        yield Pair(replicas, forks)
    finally:
        for replica in replicas:
            await replica.close()
        for fork in forks:
            await fork.stop(20)


class Balancer:
    """Sends each call to a replica that says it is ready, as any load balancer does."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._ready: list[bool] = [True, True]
        self._clients = [replica.http("slow") for replica in pair.replicas]
        self._turn = 0
        self.refused = 0

    async def watch(self) -> None:
        while True:
            for place, client in enumerate(self._clients):
                try:
                    self._ready[place] = (await client.get("/readyz")).status_code == 200
                except httpx.TransportError:
                    self._ready[place] = False
            await asyncio.sleep(0.2)

    async def post(self, path: str, **given: Any) -> httpx.Response:
        ready = [place for place in (0, 1) if self._ready[place]]
        self._turn += 1
        place = ready[self._turn % len(ready)]
        try:
            return await self._clients[place].post(path, **given)
        except httpx.ConnectError:
            self.refused += 1
            raise


async def executed(balancer: Balancer) -> tuple[int, str]:
    """Create a task and wait for its end; on REPLICA_STOPPING again, with the same key."""
    headers = {"Idempotency-Key": uuid.uuid4().hex, "Prefer": "wait=60"}
    while True:
        answer = await balancer.post("/api/v1/tasks:execute", json=a_body(), headers=headers)
        body = answer.json()
        if answer.status_code == 503 and body["code"] == "REPLICA_STOPPING":
            assert int(answer.headers["retry-after"]) >= 1
            assert body["task_id"]
            continue
        return answer.status_code, body.get("task", {}).get("status", "")


async def test_callers_behind_a_balancer_get_their_ends_over_a_rolling_restart(
    served: Served,
) -> None:
    # Longer than the balancer takes to notice, and shorter than a task.
    async with a_pair(served, drain_s=0.8) as pair:
        balancer, over = Balancer(pair), asyncio.Event()
        watching = asyncio.create_task(balancer.watch())

        async def caller() -> list[tuple[int, str]]:
            ends = []
            while not over.is_set():
                ends.append(await executed(balancer))
            return ends

        callers = [asyncio.create_task(caller()) for _ in range(8)]
        for place in (0, 1):
            await pair.restart(place)
        over.set()
        ends = [end for found in await asyncio.gather(*callers) for end in found]
        watching.cancel()

    assert len(ends) > 8
    # 200 too: a create that was sent again with its key is answered with the task.
    assert {end for end in ends if end not in ((201, "completed"), (200, "completed"))} == set()
    assert balancer.refused == 0


async def test_the_command_lines_client_goes_on_at_the_other_replica(served: Served) -> None:
    async with a_pair(served, drain_s=0.0) as pair:
        settings = ApiSettings(
            server=",".join(replica.grpc_address for replica in pair.replicas), key=KEYS["slow"]
        )
        wish = TaskRequest(type="rag", input=Json(QUESTION), priority=5, metadata=Json("{}"))
        over = asyncio.Event()

        async def caller() -> list[str]:
            ends = []
            while not over.is_set():
                wished = replace(wish, key=uuid.uuid4().hex)
                made = await ServedTasks(settings).create(wished, wait_s=60.0)
                assert made.end is not None
                ends.append(str(made.end.line["status"]))
                # Each replica follows the log on its own: a read says how far it has to be.
                wanted = pb.GetTaskRequest(
                    task_id=made.id, min_sequence=int(str(made.end.line["sequence"]))
                )
                async with open_service(settings, ApiClientSettings()) as service:
                    found = await service.ask("GetTask", wanted, timeout_s=15.0)
                assert found.task.status == pb.TASK_STATUS_COMPLETED
            return ends

        # It begins at the first address, which then stops while its waits are open.
        callers = [asyncio.create_task(caller()) for _ in range(4)]
        await asyncio.sleep(1.0)
        await pair.restart(0)
        over.set()
        ends = [end for found in await asyncio.gather(*callers) for end in found]

    assert len(ends) >= 4
    assert set(ends) == {"completed"}


async def test_a_wait_and_a_stream_of_a_stopping_replica_end_with_its_code(
    served: Served,
) -> None:
    async with a_pair(served, drain_s=0.0) as pair:
        one = pair.replicas[0]
        made = await one.stub.CreateTask(a_create(), metadata=HANGING)
        wanted = pb.WaitTaskRequest(task_id=made.task.id)
        waiting = asyncio.ensure_future(one.stub.WaitTask(wanted, metadata=HANGING, timeout=WAIT_S))
        stream = one.stub.WatchTask(
            pb.WatchTaskRequest(task_id=made.task.id), metadata=HANGING, timeout=WAIT_S
        )
        await stream.read()
        http = one.http("hanging")
        posted = asyncio.create_task(
            http.post(
                "/api/v1/tasks:execute",
                json=a_body(),
                headers={"Prefer": "wait=60", "Idempotency-Key": uuid.uuid4().hex},
            )
        )
        await asyncio.sleep(1.0)
        await pair.forks[0].stop(20)
        answer = await posted
        ended = await asyncio.gather(waiting, return_exceptions=True)
        with pytest.raises(grpc.aio.AioRpcError) as over_stream:
            await to_its_end(stream)
        pair.forks[0].start()

    assert isinstance(ended[0], grpc.aio.AioRpcError)
    for error in (ended[0], over_stream.value):
        told = refusal_of(error)
        assert (told.status, told.reason) == (grpc.StatusCode.UNAVAILABLE, "REPLICA_STOPPING")
        assert told.retry_after_s is not None
    assert (answer.status_code, answer.json()["code"]) == (503, "REPLICA_STOPPING")
    assert answer.json()["task_id"]
    assert int(answer.headers["retry-after"]) >= 1


async def to_its_end(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass


async def test_readiness_goes_before_the_ports_do(served: Served) -> None:
    async with a_pair(served, drain_s=4.0) as pair:
        one = pair.replicas[0]
        http = one.http("acme")
        stopping = asyncio.create_task(pair.forks[0].stop(20))
        async with asyncio.timeout(WAIT_S):
            while (said := await http.get("/readyz")).status_code == 200:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        created = await http.post("/api/v1/tasks", json=a_body())
        alive = await http.get("/healthz")
        await stopping
        pair.forks[0].start()

    assert (said.status_code, said.json()) == (503, {"status": "stopping"})
    assert (created.status_code, alive.status_code) == (201, 200)
