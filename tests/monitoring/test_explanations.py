"""`task explain` names the true reason why a task does not go on, in situations made on purpose."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.commands import run_command
from tests.e2e.driving import WAIT_S, Running
from tests.monitoring.conftest import CHAT, KEYS, api, cancelled, created

# The supervisor watches its processes in the loop in which the system was opened.
pytestmark = pytest.mark.asyncio(loop_scope="session")

Explanation = dict[str, Any]


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


async def test_a_full_lane_says_how_many_commands_are_before(stuck: Running) -> None:
    hanging = [await created(stuck, "hanging") for _ in range(4)]
    task_id = await created(stuck)
    found = await explained(stuck, task_id, until=says("LANE_BEHIND"))

    assert (found["mover"], found["lane"], found["members"]) == ("step.retrieve", "normal", 1)
    # Not only those of this test: a call that was just ended may not be committed yet.
    assert 1 <= found["records_before"] <= 10
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


async def test_a_held_task_whose_command_nobody_decides_says_so(stuck: Running) -> None:
    task_id = await created(stuck, hold=True)
    await explained(stuck, task_id, until=says("HELD"))
    await stuck.system.supervisor.stop("router")
    found = await explained(stuck, task_id, until=remarks("NO_ROUTER"))
    await stuck.system.supervisor.start("router")

    assert found["reason"] == "HELD"


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


async def test_the_command_says_the_same_through_the_service_and_without_it(
    stuck: Running,
) -> None:
    task_id = await created(stuck, hold=True)
    await explained(stuck, task_id, until=lambda found: not found["remarks"])
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
