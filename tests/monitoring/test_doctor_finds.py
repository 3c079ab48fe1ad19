"""`orchestrator doctor` says nothing of a sound system, and names what was broken on purpose."""

import asyncio
from collections.abc import Callable

import pytest

from tests.commands import run_command
from tests.e2e.driving import WAIT_S, Running
from tests.monitoring.conftest import CHAT, created
from tests.orchestrator.test_doctor import NOT_DURABLE

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

Finding = dict[str, str]


async def findings(running: Running, **changes: str) -> list[Finding]:
    """What doctor finds wrong, through the variables of the system."""
    targets = str(running.system.targets)
    variables = {
        name: value
        for name, value in running.system.environment.items()
        if name.startswith("ORCH_") and not name.startswith("ORCH_METRICS_")
    }
    variables |= {"ORCH_METRICS_TARGETS_DIR": targets, **changes}
    ended = await asyncio.to_thread(run_command, ("doctor", "-o", "json"), variables)
    assert ended.status in (0, 1), ended.err
    return [
        found
        for found in ended.documents
        if found["severity"] in ("warning", "fatal") and not found["what"].startswith(NOT_DURABLE)
    ]


async def found_when(running: Running, there: Callable[[Finding], bool], **changes: str) -> Finding:
    """The first finding that is as wanted."""
    seen: list[Finding] = []
    try:
        async with asyncio.timeout(WAIT_S):
            while True:
                seen = await findings(running, **changes)
                for found in seen:
                    if there(found):
                        return found
    except TimeoutError:
        raise AssertionError(f"last seen: {seen}") from None


async def sound(running: Running) -> None:
    """Wait until doctor finds nothing."""
    seen: list[Finding] = []
    try:
        async with asyncio.timeout(WAIT_S):
            while seen := await findings(running):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"still found: {seen}") from None


def about(name: str, what: str) -> Callable[[Finding], bool]:
    return lambda found: found["about"] == name and what in found["what"]


async def test_a_sound_system_has_no_finding(stuck: Running) -> None:
    await sound(stuck)


@pytest.mark.parametrize("role", ["step.retrieve", "router", "sink", "dlq-index"])
async def test_a_role_without_a_process_is_named_with_what_it_breaks(
    stuck: Running, role: str
) -> None:
    await sound(stuck)
    await stuck.system.supervisor.stop(role)
    found = await found_when(stuck, about(role, "no process is in its group"))
    await stuck.system.supervisor.start(role)

    assert found["fix"].startswith(f"orchestrator worker {role}")
    await sound(stuck)


async def test_a_process_that_stands_still_is_named(stuck: Running) -> None:
    await sound(stuck)
    stuck.system.supervisor.pause("step.extract")
    try:
        found = await found_when(stuck, about("step.extract", "no process is in its group"))
    finally:
        stuck.system.supervisor.resume("step.extract")

    assert "paused" in found["fix"]
    await sound(stuck)


async def test_a_process_that_was_killed_does_not_answer(stuck: Running) -> None:
    await sound(stuck)
    stuck.system.supervisor.hold("step.transcribe")
    stuck.system.child("step.transcribe").kill()
    found = await found_when(stuck, about("step.transcribe", "it does not answer"))
    await stuck.system.supervisor.start("step.transcribe")

    assert "not ready" in found["what"]
    await sound(stuck)


async def test_services_that_are_away_are_named(stuck: Running) -> None:
    await sound(stuck)
    await stuck.system.supervisor.stop("demo-services")
    found = await found_when(stuck, about("retrieval", "accepts no connection"))
    await stuck.system.supervisor.start("demo-services")

    assert "ORCH_SERVICES_RETRIEVAL" in found["fix"]
    await sound(stuck)


async def test_a_registry_that_is_away_is_fatal(stuck: Running) -> None:
    changes = {"ORCH_SCHEMAS_REGISTRY_URL": "http://127.0.0.1:1"}
    found = await found_when(stuck, about("registry", "gives no good answer"), **changes)

    assert found["severity"] == "fatal"


async def test_a_shut_flood_guard_is_named_with_its_service(stuck: Running) -> None:
    await sound(stuck)
    for _ in range(8):
        await created(stuck, "flooding", **CHAT)
    found = await found_when(stuck, about("step.generate", "it holds commands back: FLOOD_GUARD"))

    assert "rag-engine" in found["what"]
