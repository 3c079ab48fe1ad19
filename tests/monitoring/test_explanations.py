"""`task explain` names the true reason why a task does not go on, in situations made on purpose."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import httpx
import pytest
import pytest_asyncio

from orchestrator.local.dev.system import DEV_DEFAULTS, open_system
from orchestrator.settings import load_settings
from tests.commands import run_command
from tests.e2e.driving import ANY_PORTS, WAIT_S, Running, a_database

# The supervisor watches its processes in the loop in which the system was opened.
pytestmark = pytest.mark.asyncio(loop_scope="session")

FAULTS = [
    {"tenant": "hanging", "service": "retrieval", "hang": True},
    {"tenant": "away", "service": "retrieval", "status": "UNAVAILABLE", "retry_after_ms": 50_000},
    {"tenant": "flooding", "service": "rag_engine", "status": "UNAVAILABLE"},
]
Explanation = dict[str, Any]
RAG = {"type": "rag", "input": {"query": "What is a lane?"}}
CHAT = {"type": "chat", "input": {"query": "What is a lane?"}}
KEYS = {"default": "d" * 40, "hanging": "h" * 40, "away": "a" * 40, "flooding": "f" * 40}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stuck(
    kafka_bootstrap: str, postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    """A system of two slots for each step, whose flood guards shut soon."""
    folder = tmp_path_factory.mktemp("stuck")
    environment = {
        "ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "ORCH_POSTGRES_DSN": await a_database(postgres_dsn),
        "ORCH_KAFKA_SESSION_TIMEOUT_S": "6",
        "ORCH_TOPICS_PREFIX": "stuck.",
        "ORCH_TOPICS_PARTITIONS": "1",
        "ORCH_WORKER_SLOTS": "2",
        "ORCH_FLOOD_GUARD_WINDOW": "4",
        "ORCH_FLOOD_GUARD_PROBE_EVERY_S": "600",
        "ORCH_API_KEYS": ",".join(
            f"{tenant}:{sha256(key.encode()).hexdigest()}" for tenant, key in KEYS.items()
        ),
        "ORCH_DEMO_FAULTS": json.dumps(FAULTS),
        **ANY_PORTS,
    }
    settings = load_settings(environment, DEV_DEFAULTS)
    async with open_system(settings, environment=environment, logs=folder) as system:
        running = Running(system=system, call_log=folder / "calls.jsonl", logs=folder)
        async with asyncio.timeout(WAIT_S):
            while not await _ready(running):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        yield running


async def _ready(running: Running) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"http://{running.system.http_address}/readyz"
            return (await client.get(url)).status_code == 200
    except httpx.HTTPError:
        return False


@asynccontextmanager
async def api(running: Running, tenant: str = "default") -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {KEYS[tenant]}"}
    url = f"http://{running.system.http_address}/api/v1"
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
        yield client


async def created(running: Running, tenant: str = "default", **fields: Any) -> str:
    async with api(running, tenant) as client:
        answer = await client.post("/tasks", json={**RAG, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["task"]["id"])


async def explained(
    running: Running,
    task_id: str,
    tenant: str = "default",
    *,
    until: Callable[[Explanation], bool],
) -> Explanation:
    """The first explanation that is as wanted."""
    seen: Explanation = {}
    try:
        async with asyncio.timeout(WAIT_S), api(running, tenant) as client:
            while not (seen and until(seen)):
                answer = await client.get(f"/tasks/{task_id}:explain")
                assert answer.status_code == 200, answer.text
                seen = answer.json()
    except TimeoutError:
        raise AssertionError(f"last seen: {seen}") from None
    return seen


def says(reason: str) -> Callable[[Explanation], bool]:
    return lambda found: found["reason"] == reason


def remarks(code: str) -> Callable[[Explanation], bool]:
    return lambda found: code in [remark["code"] for remark in found["remarks"]]


async def test_a_task_that_ended_waits_for_nobody(stuck: Running) -> None:
    task_id = await created(stuck)
    found = await explained(stuck, task_id, until=says("ENDED"))

    assert (found["status"], found["mover"], found["step"]) == ("completed", None, None)


async def test_a_held_task_waits_for_its_caller(stuck: Running) -> None:
    found = await explained(stuck, await created(stuck, hold=True), until=says("HELD"))

    assert found["mover"] == "caller"


async def test_a_retry_that_is_not_due_waits_for_its_time(stuck: Running) -> None:
    task_id = await created(stuck, "away")
    found = await explained(stuck, task_id, "away", until=says("RETRY_WAITING"))

    assert (found["mover"], found["step"], found["attempt"]) == ("router", "retrieve", 1)
    assert found["due_at"] > found["since"]


async def test_a_deadline_that_is_near_is_mentioned(stuck: Running) -> None:
    task_id = await created(stuck, "away", timeout_ms=55_000)
    found = await explained(stuck, task_id, "away", until=remarks("DEADLINE_NEAR"))

    assert found["reason"] != "ENDED"


async def test_a_call_that_runs_names_its_worker(stuck: Running) -> None:
    task_id = await created(stuck, "hanging")
    found = await explained(stuck, task_id, "hanging", until=says("CALL_RUNNING"))

    assert (found["mover"], found["service"]) == ("step.retrieve", "retrieval-service")
    assert found["worker"]
    await cancelled(stuck, "hanging", task_id)


async def cancelled(running: Running, tenant: str, *ids: str) -> None:
    async with api(running, tenant) as client:
        for task_id in ids:
            assert (await client.post(f"/tasks/{task_id}:cancel")).status_code == 200


async def test_a_full_lane_says_how_many_commands_are_before(stuck: Running) -> None:
    hanging = [await created(stuck, "hanging") for _ in range(4)]
    task_id = await created(stuck)
    found = await explained(stuck, task_id, until=says("LANE_BEHIND"))

    assert (found["mover"], found["lane"], found["members"]) == ("step.retrieve", "normal", 1)
    assert 1 <= found["records_before"] <= 6
    await cancelled(stuck, "hanging", *hanging)
    await explained(stuck, task_id, until=says("ENDED"))


async def test_without_a_worker_the_step_is_named(stuck: Running) -> None:
    await stuck.system.supervisor.stop("step.retrieve")
    task_id = await created(stuck)
    found = await explained(stuck, task_id, until=says("NO_WORKER"))
    await stuck.system.supervisor.start("step.retrieve")

    assert (found["mover"], found["members"]) == ("step.retrieve", 0)
    await explained(stuck, task_id, until=says("ENDED"))


async def test_a_paused_worker_leaves_its_group_and_counts_as_none(stuck: Running) -> None:
    stuck.system.supervisor.pause("step.retrieve")
    task_id = await created(stuck)
    await explained(stuck, task_id, until=says("LANE_BEHIND"))
    found = await explained(stuck, task_id, until=says("NO_WORKER"))
    stuck.system.supervisor.resume("step.retrieve")

    assert "paused" in found["text"]
    await explained(stuck, task_id, until=says("ENDED"))


async def test_without_a_router_nothing_is_decided(stuck: Running) -> None:
    await stuck.system.supervisor.stop("router")
    task_id = await created(stuck)
    found = await explained(stuck, task_id, until=says("NO_ROUTER"))
    await stuck.system.supervisor.start("router")

    assert (found["phase"], found["mover"]) == ("accepted", "router")
    await explained(stuck, task_id, until=says("ENDED"))


async def test_a_sink_that_is_away_is_mentioned_and_stops_no_task(stuck: Running) -> None:
    await stuck.system.supervisor.stop("sink")
    task_id = await created(stuck)
    found = await explained(
        stuck, task_id, until=lambda found: says("ENDED")(found) and remarks("NO_SINK")(found)
    )
    await stuck.system.supervisor.start("sink")

    assert found["status"] == "completed"
    await explained(stuck, task_id, until=lambda found: not found["remarks"])


async def test_a_shut_flood_guard_is_the_reason_and_the_service_is_named(stuck: Running) -> None:
    ids = [await created(stuck, "flooding", **CHAT) for _ in range(8)]
    last = ids[-1]
    found = await explained(stuck, last, "flooding", until=says("FLOOD_GUARD"))

    assert (found["mover"], found["service"]) == ("step.generate", "rag-engine")
    assert "rag-engine" in found["text"]
    await cancelled(stuck, "flooding", last)


async def test_the_command_says_the_same_through_the_service_and_without_it(
    stuck: Running,
) -> None:
    task_id = await created(stuck, hold=True)
    environment = {
        "ORCH_API_SERVER": stuck.system.grpc_address,
        "ORCH_API_KEY": KEYS["default"],
        **{k: v for k, v in stuck.system.environment.items() if k.startswith("ORCH_")},
    }
    ways = [
        await asyncio.to_thread(
            run_command, ("task", "explain", task_id, "-o", "json", *way), environment
        )
        for way in ((), ("--direct",))
    ]
    assert [way.status for way in ways] == [0, 0], [way.err for way in ways]
    served, direct = (way.documents[0] for way in ways)

    assert served == direct
    assert (served["reason"], served["mover"]) == ("HELD", "caller")


async def test_a_task_of_another_tenant_is_not_found(stuck: Running) -> None:
    task_id = await created(stuck, hold=True)
    async with api(stuck, "away") as client:
        answers = [await client.get(f"/tasks/{which}:explain") for which in (task_id, "no-such")]

    assert [answer.status_code for answer in answers] == [404, 404]
