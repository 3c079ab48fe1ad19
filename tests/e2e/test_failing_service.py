"""Failures of services: attempts and delays as the policy says, then the defined outcome."""

import json
from itertools import pairwise

import pytest

from schemas.codec import decode
from schemas.headers import header_text
from schemas.records import StepCommand, StepName
from tests.e2e.driving import Running, a_rag_task

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def failed_row(running: Running, tenant: str, **changes: object) -> tuple[str, dict]:  # type: ignore[type-arg]
    task = a_rag_task(tenant, **changes)
    await running.create([task])
    rows = await running.ended([task.task_id])
    await running.check([task.task_id])
    return task.task_id, dict(rows[task.task_id])


async def test_a_failing_service_is_tried_four_times_with_growing_delays_then_the_task_fails(
    running: Running,
) -> None:
    task_id, row = await failed_row(running, "failing")

    calls = [c for c in running.calls() if c["task_id"] == task_id and c["step"] == "generate"]
    assert [call["attempt"] for call in calls] == [1, 2, 3, 4]
    delays = [later["began_s"] - earlier["began_s"] for earlier, later in pairwise(calls)]
    # 0.5 s, 1 s, 2 s, each 10 % less at the least; how much more depends on the machine.
    assert all(delay >= 0.9 * base for delay, base in zip(delays, (0.5, 1, 2), strict=True))
    assert delays == sorted(delays)
    assert (row["status"], row["error_code"]) == ("failed", "SERVICE_UNAVAILABLE")
    assert [step["attempt"] for step in json.loads(row["steps"])][-1] == 4


async def test_the_command_of_a_step_that_failed_for_good_is_a_dead_letter(
    running: Running,
) -> None:
    task_id, row = await failed_row(running, "refused")
    [failed] = [e for e in await running.events() if e["task_id"] == task_id][-1:]
    step = failed["step"]

    letter = await running.dead_letter(
        step["command_topic"], (step["command_partition"], step["command_offset"])
    )
    command = decode(letter.value, StepCommand)
    assert row["status"] == "failed"
    assert step["command_topic"] == running.topics.lanes(StepName("retrieve"))[1]
    assert (command.task_id, command.step, command.attempt) == (task_id, "retrieve", 1)
    assert header_text(letter.headers, "__dlq.errors.stage") == "execute"
    assert header_text(letter.headers, "__dlq.errors.class") == "PERMANENT"


async def test_a_request_that_the_service_refuses_is_not_tried_again(running: Running) -> None:
    task_id, row = await failed_row(running, "refused")

    calls = [call for call in running.calls() if call["task_id"] == task_id]
    assert len(calls) == 1
    assert row["status"] == "failed"


async def test_a_service_that_recovers_completes_the_task(running: Running) -> None:
    task_id, row = await failed_row(running, "recovering")

    assert row["status"] == "completed"
    attempts = [c["attempt"] for c in running.calls() if c["task_id"] == task_id]
    assert attempts == [1, 1, 2, 3]


async def test_a_retry_waits_at_least_as_long_as_the_service_asks(running: Running) -> None:
    task_id, row = await failed_row(running, "waiting")

    calls = [c for c in running.calls() if c["task_id"] == task_id and c["step"] == "retrieve"]
    assert row["status"] == "completed"
    assert calls[1]["began_s"] - calls[0]["began_s"] >= 1.5


async def test_an_output_that_cannot_be_stored_fails_the_step(running: Running) -> None:
    _, row = await failed_row(running, "garbled")

    assert (row["status"], row["error_code"]) == ("failed", "OUTPUT_NOT_STORABLE")


async def test_a_task_whose_service_hangs_fails_at_its_deadline(running: Running) -> None:
    task_id, row = await failed_row(running, "hanging", timeout_ms=1500)

    assert (row["status"], row["error_code"]) == ("failed", "DEADLINE_EXCEEDED")
    assert 1400 <= row["duration_ms"] <= 10_000, task_id
