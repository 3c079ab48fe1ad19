"""What one tenant may have at the same time: refused with a typed answer, counted, never lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import grpc
import httpx
import pytest
import pytest_asyncio
import websockets
from google.protobuf.duration_pb2 import Duration
from prometheus_client import REGISTRY

from orchestrator.api.errors import ApiError
from orchestrator.api.limits.settings import ApiLimitsSettings, parse_tenants
from orchestrator.api.limits.slots import TenantSlots
from orchestrator.api.limits.tenants import TenantLimits
from orchestrator.api.replica.tenant_load import TenantCounts
from orchestrator.api.server import Serving, open_service
from orchestrator.settings import load_settings
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.gen.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorStub
from schemas.records import Json, Millis, TaskCreated, TaskId
from tests.api.calling import KEYS, Served, a_body, a_create, as_tenant, refusal_of
from tests.api.letters.dead_lettering import a_dead_letter, until_status

WAIT_S = 30.0
LIMITS = {
    "ORCH_API_LIMITS_TENANT_LIVE_TASKS_MAX": "5",
    "ORCH_API_LIMITS_TENANT_HELD_BYTES_MAX": "2000",
    "ORCH_API_LIMITS_TENANT_STREAMS_MAX": "2",
    "ORCH_API_LIMITS_TENANT_PRIORITY_MAX": "7",
    "ORCH_API_LIMITS_TENANTS": "other.live_tasks=50000,other.priority=10,fuzzed.live_tasks=0",
    "ORCH_API_LIMITS_REQUESTS_PER_S": "1000",
}
LIMITED = "crowd"
"""A tenant of no other test's tasks that go on."""


@dataclass
class Load:
    """What tenants have."""

    live: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)

    def live_tasks(self, tenant_id: str) -> int:
        return self.live.get(tenant_id, 0)

    def held_bytes(self, tenant_id: str) -> int:
        return self.held.get(tenant_id, 0)


def limits(load: Load | None = None, **changes: int | str) -> TenantLimits:
    return TenantLimits(ApiLimitsSettings(**changes), load or Load())  # type: ignore[arg-type]


def a_task(*, hold: bool = False, size: int = 100) -> TaskCreated:
    return TaskCreated(
        task_id=TaskId("t"),
        tenant_id="acme",
        type="rag",
        input=Json("x" * size),
        metadata=Json(""),
        hold=hold,
        created_at=Millis(1),
    )


def refused_with(code: str) -> pytest.RaisesExc[ApiError]:
    return pytest.RaisesExc(ApiError, check=lambda error: error.code == code)


def test_a_batch_is_taken_whole_or_not_at_all() -> None:
    checked = limits(Load(live={"acme": 3}), tenant_live_tasks_max=5)
    checked.check_creates("acme", [a_task()] * 2)
    with refused_with("TASKS_LIMITED"):
        checked.check_creates("acme", [a_task()] * 3)
    checked.check_creates("other", [a_task()] * 5)


def test_only_held_documents_count_as_held() -> None:
    checked = limits(Load(held={"acme": 900}), tenant_held_bytes_max=1000)
    checked.check_creates("acme", [a_task(hold=True), a_task(size=5000)])
    with refused_with("HELD_LIMITED"):
        checked.check_creates("acme", [a_task(hold=True), a_task(hold=True)])


def test_a_stream_that_ends_makes_room() -> None:
    checked = limits(tenant_streams_max=1)
    with checked.stream("acme"):
        with refused_with("STREAMS_LIMITED"), checked.stream("acme"):
            pass
        with checked.stream("other"):
            pass
    with checked.stream("acme"):
        pass


def test_a_wait_counts_as_a_stream_unless_it_is_a_moment() -> None:
    checked = limits(tenant_streams_max=1)
    with checked.wait("acme", 60.0):
        with refused_with("STREAMS_LIMITED"), checked.wait("acme", 60.0):
            pass
        with refused_with("STREAMS_LIMITED"):
            checked.check_wait("acme", 60.0)
        with checked.wait("acme", 1.0):
            pass
    checked.check_wait("acme", 60.0)


def test_a_tenant_may_have_limits_of_its_own() -> None:
    checked = limits(tenant_priority_max=7, tenants="acme.co.priority=3,acme.co.streams=9")
    with refused_with("PRIORITY_DENIED"):
        checked.check_priority("acme.co", 4)
    checked.check_priority("other", 7)
    with refused_with("PRIORITY_DENIED"):
        checked.check_priority("other", 8)


@pytest.mark.parametrize("text", ["acme", "acme.live=3", "acme.live_tasks=many", "a b.streams=3"])
def test_a_wrong_limit_of_a_tenant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="tenants has"):
        parse_tenants(text)


def test_counts_follow_the_tasks() -> None:
    counts = TenantCounts()
    counts.put(TaskId("1"), "acme", held_bytes=10)
    counts.put(TaskId("2"), "acme", held_bytes=5)
    counts.put(TaskId("1"), "acme", held_bytes=0)  # released
    assert (counts.live_tasks("acme"), counts.held_bytes("acme")) == (2, 5)
    counts.drop(TaskId("2"))
    counts.drop(TaskId("2"))
    counts.drop(TaskId("1"))
    assert (counts.live_tasks("acme"), counts.held_bytes("acme")) == (0, 0)


async def test_a_tenant_waits_for_its_own_slots_only() -> None:
    slots, release = TenantSlots("reads", lambda _: 1, waiting=2, wait_s=WAIT_S), asyncio.Event()

    async def work(tenant: str) -> str:
        async with slots.of(tenant):
            await release.wait()
            return tenant

    busy = [asyncio.create_task(work("noisy")) for _ in range(3)]
    await asyncio.sleep(0)
    with refused_with("WORK_LIMITED"):
        await work("noisy")
    other = asyncio.create_task(work("other"))
    release.set()
    assert await asyncio.gather(other, *busy) == ["other", "noisy", "noisy", "noisy"]
    assert await work("noisy") == "noisy"


async def test_replays_of_all_tenants_keep_no_other_call_about_letters_waiting() -> None:
    checked = limits(letter_calls_max=1)
    async with (
        asyncio.timeout(WAIT_S),
        checked.replays.of("noisy"),
        checked.letter_calls.of("other"),
    ):
        pass


async def test_explanations_are_few_for_all_tenants_and_take_no_slot_of_reads() -> None:
    checked, inside, release = limits(tenant_reads_max=2), 0, asyncio.Event()

    async def explain(tenant: str) -> None:
        nonlocal inside
        async with checked.explanations.of(tenant):
            inside += 1
            await release.wait()
            inside -= 1

    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as calls:
        for number in range(60):
            calls.create_task(explain(f"tenant-{number // 2}"))
        for _ in range(20):
            await asyncio.sleep(0)
        most = inside
        for _ in range(2):
            async with checked.reads.of("tenant-0"):
                pass
        release.set()

    assert (most, inside) == (8, 0)


async def test_a_call_that_waits_for_its_turn_for_too_long_is_refused() -> None:
    slots = TenantSlots("reads", lambda _: 1, waiting=5, wait_s=0.01)
    async with slots.of("acme"):
        with refused_with("WORK_LIMITED"):
            async with slots.of("acme"):
                pass
    async with slots.of("acme"):
        pass


# --- the running service ---


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def limited(served: Served) -> AsyncIterator[Serving]:
    environment = {
        **served.running.system.environment,
        "ORCH_API_GRPC_PORT": "0",
        "ORCH_API_HTTP_PORT": "0",
        **LIMITS,
    }
    async with open_service(load_settings(environment)) as serving:
        yield serving


def client(serving: Serving, tenant: str = LIMITED) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"http://{serving.http_address}",
        headers={"authorization": f"Bearer {KEYS[tenant]}"},
        timeout=WAIT_S,
    )


def counted(limit: str) -> float:
    return REGISTRY.get_sample_value("orchestrator_api_limited_total", {"limit": limit}) or 0.0


def assert_limited(answer: httpx.Response, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (429, code), answer.text
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.asyncio(loop_scope="session")
async def test_live_tasks_are_limited_and_room_comes_back(limited: Serving) -> None:
    before = counted("tenant_live_tasks_max")
    async with client(limited) as http:
        batch = {"tasks": [a_body(hold=True, input={"query": "x"})] * 5}
        created = await http.post("/api/v1/tasks:batch", json=batch)
        assert created.status_code == 201, created.text
        ids = [item["task"]["id"] for item in created.json()["tasks"]]
        async with asyncio.timeout(WAIT_S):
            while (await http.post("/api/v1/tasks", json=a_body())).status_code != 429:
                pass
        assert_limited(await http.post("/api/v1/tasks", json=a_body()), "TASKS_LIMITED")
        async with grpc.aio.insecure_channel(limited.grpc_address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await OrchestratorStub(channel).CreateTask(a_create(), metadata=as_tenant(LIMITED))
        said = refusal_of(refused.value)
        assert (said.status, said.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TASKS_LIMITED")
        assert counted("tenant_live_tasks_max") >= before + 2
        async with client(limited, "other") as others:
            assert (await others.post("/api/v1/tasks", json=a_body())).status_code == 201
        for task_id in ids:
            assert (await http.post(f"/api/v1/tasks/{task_id}:cancel")).status_code == 200
        async with asyncio.timeout(WAIT_S):
            while (await http.post("/api/v1/tasks", json=a_body())).status_code != 201:  # noqa: ASYNC110
                await asyncio.sleep(0.1)


@pytest.mark.asyncio(loop_scope="session")
async def test_bytes_of_held_tasks_are_limited(limited: Serving) -> None:
    async with client(limited, "keeping") as http:
        large = a_body(hold=True, input={"query": "x" * 1500})
        created = await http.post("/api/v1/tasks", json=large)
        assert created.status_code == 201
        async with asyncio.timeout(WAIT_S):
            while (answer := await http.post("/api/v1/tasks", json=large)).status_code == 201:
                pass
        assert_limited(answer, "HELD_LIMITED")
        # A task that is not held takes no room of them.
        assert (await http.post("/api/v1/tasks", json=a_body())).status_code == 201


@pytest.mark.asyncio(loop_scope="session")
async def test_a_priority_above_the_limit_is_refused_everywhere(limited: Serving) -> None:
    async with client(limited) as http:
        answer = await http.post("/api/v1/tasks", json=a_body(priority=8))
        assert (answer.status_code, answer.json()["code"]) == (403, "PRIORITY_DENIED")
        batch = {"tasks": [a_body(), a_body(priority=9)]}
        answer = await http.post("/api/v1/tasks:batch", json=batch)
        assert (answer.status_code, answer.json()["code"]) == (403, "PRIORITY_DENIED")
    async with client(limited, "other") as others:
        created = await others.post("/api/v1/tasks", json=a_body(priority=10, hold=True))
        assert created.status_code == 201
        task_id = created.json()["task"]["id"]
    async with client(limited, "acme") as http:
        path = f"/api/v1/tasks/{task_id}:setPriority"
        answer = await http.post(path, json={"priority": 9})
        assert (answer.status_code, answer.json()["code"]) == (403, "PRIORITY_DENIED")


@pytest.mark.asyncio(loop_scope="session")
async def test_streams_of_all_kinds_are_limited_together(limited: Serving) -> None:
    async with client(limited, "other") as http, client(limited, "other") as more:
        created = await http.post("/api/v1/tasks", json=a_body(hold=True))
        task_id = created.json()["task"]["id"]
        path = f"/api/v1/tasks/{task_id}/events"
        accept = {"accept": "text/event-stream"}
        async with (
            http.stream("GET", path, headers=accept) as first,
            http.stream("GET", path, headers=accept) as second,
        ):
            # httpx closes a stream whose lines nobody holds any more.
            lines = [stream.aiter_lines() for stream in (first, second)]
            for each in lines:
                await first_event(each)
            assert_limited(await more.get(path, headers=accept), "STREAMS_LIMITED")
            assert await subscribed(limited, task_id) == "STREAMS_LIMITED"
            waiting = {"prefer": "wait=60"}
            for_long = await more.post("/api/v1/tasks:execute", json=a_body(), headers=waiting)
            assert_limited(for_long, "STREAMS_LIMITED")
            released = await more.post(f"/api/v1/tasks/{task_id}:execute", headers=waiting)
            assert_limited(released, "STREAMS_LIMITED")
            held = await more.get(f"/api/v1/tasks/{task_id}")
            assert held.json()["status"] == "pending"
            assert await waited(limited, task_id) == "STREAMS_LIMITED"
        async with asyncio.timeout(WAIT_S):
            while await subscribed(limited, task_id) == "STREAMS_LIMITED":  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def first_event(lines: AsyncIterator[str]) -> None:
    """Wait until the stream has sent an event: it is counted by then."""
    async with asyncio.timeout(WAIT_S):
        while not (await anext(lines)).startswith("event: "):
            pass


async def subscribed(serving: Serving, task_id: str) -> str:
    """The code with which a subscription of a WebSocket is refused; empty if it is not."""
    address = f"ws://{serving.http_address}/api/v1/ws"
    headers = {"authorization": f"Bearer {KEYS['other']}"}
    async with websockets.connect(address, additional_headers=headers) as socket:
        with contextlib.suppress(websockets.ConnectionClosed):  # the socket itself is refused
            await socket.send(json.dumps({"action": "subscribe", "task_id": task_id}))
        async with asyncio.timeout(WAIT_S):
            said: Mapping[str, dict[str, str]] = json.loads(await socket.recv())
    return said.get("problem", {}).get("code", "")


async def waited(serving: Serving, task_id: str) -> str:
    """The code with which a long wait is refused over gRPC."""
    async with grpc.aio.insecure_channel(serving.grpc_address) as channel:
        stub, metadata = OrchestratorStub(channel), as_tenant("other")
        short = pb.WaitTaskRequest(task_id=task_id, timeout=Duration(nanos=1_000_000))
        assert (await stub.WaitTask(short, metadata=metadata)).task.id == task_id
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.WaitTask(pb.WaitTaskRequest(task_id=task_id), metadata=metadata)
    return refusal_of(refused.value).reason


@pytest.mark.asyncio(loop_scope="session")
async def test_an_idle_socket_counts_as_a_stream(limited: Serving) -> None:
    address = f"ws://{limited.http_address}/api/v1/ws"
    headers = {"authorization": f"Bearer {KEYS[LIMITED]}"}
    async with (
        websockets.connect(address, additional_headers=headers),
        websockets.connect(address, additional_headers=headers),
        websockets.connect(address, additional_headers=headers) as third,
    ):
        async with asyncio.timeout(WAIT_S):
            said = json.loads(await third.recv())
            await third.wait_closed()
    assert (said["problem"]["code"], third.close_code) == ("STREAMS_LIMITED", 1013)


@pytest.mark.asyncio(loop_scope="session")
async def test_the_rate_of_a_key_is_limited(served: Served) -> None:
    environment = {
        **served.running.system.environment,
        "ORCH_API_GRPC_PORT": "0",
        "ORCH_API_HTTP_PORT": "0",
        "ORCH_API_LIMITS_REQUESTS_PER_S": "0.01",
        "ORCH_API_LIMITS_REQUESTS_BURST": "3",
    }
    async with open_service(load_settings(environment)) as serving:
        async with client(serving) as http:
            answers = [await http.get("/api/v1/tasks") for _ in range(4)]
        assert [answer.status_code for answer in answers[:3]] == [200, 200, 200]
        assert_limited(answers[3], "RATE_LIMITED")
        async with client(serving, "other") as others:
            assert (await others.get("/api/v1/tasks")).status_code == 200
            assert (await others.get("/healthz")).status_code == 200


@pytest.mark.asyncio(loop_scope="session")
async def test_a_dead_letter_is_no_way_around_the_limits(served: Served, limited: Serving) -> None:
    letter_id = await a_dead_letter(served, "documented")
    path = f"/api/v1/dead-letters/{letter_id}"
    replay = {"ids": [letter_id], "dry_run": False, "reason": "mended"}
    async with client(limited, "documented") as http, client(limited, "operator") as operator:
        for asked in ({"changes": ["priority=8"]}, {"changes": ["type=rag", "priority=9"]}):
            denied = await http.post(f"{path}:edit", json={**asked, "reason": "sooner"})
            assert (denied.status_code, denied.json()["code"]) == (403, "PRIORITY_DENIED")
        assert (await http.get(path)).json()["history"] == []
        large = ["type=rag", "hold=true", "input.query=" + "x" * 3000]
        edited = await http.post(f"{path}:edit", json={"changes": large, "reason": "more"})
        assert edited.status_code == 200, edited.text
        assert_limited(await http.post("/api/v1/dead-letters:replay", json=replay), "HELD_LIMITED")
        assert (await http.get(path)).json()["dead_letter"]["status"] == "open"
        sooner = {"changes": ["priority=9", "hold=false"], "reason": "it is urgent"}
        assert (await operator.post(f"{path}:edit", json=sooner)).status_code == 200
        # What the operator chose stays allowed.
        again = {"changes": ["input.query=why?"], "reason": "less"}
        assert (await http.post(f"{path}:edit", json=again)).status_code == 200
        sent = await http.post("/api/v1/dead-letters:replay", json=replay)
        assert sent.status_code == 200, sent.text
    await until_status(served, "documented", letter_id, "resolved")
