"""``orchestrator task`` and ``orchestrator usage``, against the running system."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.embedded.postgres import EmbeddedPostgres
from schemas.topics import Topics
from streams.admin import Admin
from tests.commands import Ended, run_command
from tests.e2e.driving import WAIT_S, Running

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUESTION = json.dumps({"query": "What is a dead letter?"})
CREATE = ("task", "create", "--type", "rag", "--input", QUESTION)


async def run(running: Running, *arguments: str, given: str = "", **environment: str) -> Ended:
    """Run a command as a user of the running system does."""
    system = running.system.settings
    variables = {
        "ORCH_KAFKA_BOOTSTRAP": system.kafka.bootstrap,
        "ORCH_POSTGRES_DSN": system.postgres.dsn,
        **environment,
    }
    return await asyncio.to_thread(run_command, arguments, variables, given=given)


async def created(running: Running, *arguments: str) -> str:
    """Create a task; return its id."""
    ended = await run(running, *CREATE, *arguments, "-o", "json")
    assert ended.status == 0, ended.err
    return str(ended.document["id"])


async def ordered(running: Running, *arguments: str) -> Any:
    """Give an order that is carried out; return its answer."""
    ended = await run(running, "task", *arguments, "-o", "json", "--wait-s", "60")
    assert ended.status == 0, ended.err
    return ended.document["answer"]


async def test_a_created_task_is_waited_for_and_shown_alike_from_log_and_from_postgres(
    running: Running,
) -> None:
    conversation = f"conversation_{uuid.uuid4()}"
    waited = await run(
        running, *CREATE, "--conversation", conversation, "--wait", "--wait-s", "60", "-o", "json"
    )
    task_id = waited.document["id"]
    await running.ended([task_id])
    from_log = (await run(running, "task", "get", task_id, "-o", "json")).document
    from_rows = await postgres_view(running, task_id)
    listed = await run(running, "task", "list", "--conversation", conversation, "-o", "json")
    shown = await run(running, "task", "get", task_id)

    assert (waited.status, waited.document["end"]["kind"]) == (0, "completed")
    assert from_log["source"] == "log"
    assert from_rows | {"source": "log"} == from_log
    assert [step["step"] for step in from_log["attempts"]] == ["retrieve", "generate"]
    assert from_log["timeline"][-1] == waited.document["end"]
    assert [task["id"] for task in listed.documents] == [task_id]
    assert "completed" in shown.out
    assert task_id in shown.out


async def postgres_view(running: Running, task_id: str) -> Any:
    """What ``get`` shows when the log does not have the task: here, a log without a record."""
    settings = replace(
        running.system.settings.topics, prefix=f"empty-{uuid.uuid4()}.", partitions=1
    )
    topics = Topics(settings)
    table = topics.table([], running.system.settings.limits)
    async with Admin(running.system.settings.kafka) as admin:
        await admin.apply([topic for topic in table if topic.name == topics.task_events])
    ended = await run(
        running, "task", "get", task_id, "-o", "json", ORCH_TOPICS_PREFIX=settings.prefix
    )
    assert ended.document["source"] == "postgres"
    return ended.document


async def test_a_held_task_waits_until_it_is_executed_then_completes(running: Running) -> None:
    task_id = await created(running, "--hold")
    answer = await ordered(running, "execute", task_id, "--actor", "ada", "--reason", "now")
    watched = await run(running, "task", "watch", task_id, "-o", "json")

    assert (answer["kind"], answer["actor"], answer["reason"]) == (
        "execute_requested",
        "ada",
        "now",
    )
    assert [line["sequence"] for line in watched.documents] == list(
        range(1, len(watched.documents) + 1)
    )
    assert watched.documents[0]["phase"] == "held"
    assert watched.documents[-1]["kind"] == "completed"


async def test_ctrl_c_ends_a_watch_without_a_traceback(running: Running) -> None:
    task_id = await created(running, "--hold")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator", "task", "watch", task_id),
        env={**os.environ, "ORCH_KAFKA_BOOTSTRAP": running.bootstrap},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_S):
        first = await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()

    assert b"created" in first
    assert (process.returncode, err) == (130, b"")


async def test_a_held_task_changes_its_priority_and_is_cancelled_twice(running: Running) -> None:
    task_id = await created(running, "--hold", "--priority", "low")
    raised = await ordered(running, "set-priority", task_id, "high")
    queue = await run(running, "task", "list", "--order", "queue", "-o", "json")
    first = await ordered(running, "cancel", task_id, "--reason", "not needed")
    second = await ordered(running, "cancel", task_id)

    assert (raised["kind"], raised["priority"]) == ("priority_changed", 10)
    assert all(task["status"] == "pending" for task in queue.documents)
    assert (first["kind"], first["reason"]) == ("cancelled", "not needed")
    assert (second["kind"], second["reason"]) == ("command_refused", "TASK_ALREADY_CANCELLED")


async def test_a_cancel_of_a_completed_task_is_refused_with_its_code(running: Running) -> None:
    task_id = await created(running, "--wait", "--wait-s", "60")
    ended = await run(running, "task", "cancel", task_id, "--wait-s", "60")

    assert ended.status == 1
    assert ended.err.startswith("error TASK_NOT_CANCELLABLE: ")


async def test_a_failed_task_ends_its_wait_with_its_code_and_is_retried(running: Running) -> None:
    ended = await run(running, *CREATE, "--tenant", "refused", "--wait", "-o", "json")
    task_id = ended.document["id"]
    answer = await ordered(running, "retry", task_id, "--run", "1", "--actor", "ada")
    watched = await run(running, "task", "watch", task_id, "--after", "3", "-o", "json")
    view = (await run(running, "task", "get", task_id, "-o", "json")).document

    assert ended.status == 1
    assert ended.err.startswith("error SERVICE_"), ended.err
    assert (answer["kind"], answer["run"]) == ("retried", 2)
    assert watched.documents[0]["sequence"] > 3
    assert (view["status"], view["run"]) == ("failed", 2)
    assert [attempt["run"] for attempt in view["attempts"]] == [1, 2]


async def test_a_retry_that_means_another_run_gets_no_answer_and_says_where_it_is(
    running: Running,
) -> None:
    task_id = await created(running, "--hold")
    ended = await run(
        running, "task", "retry", task_id, "--run", "7", "--wait-s", "2", "-o", "json"
    )

    assert ended.status == 3
    assert ended.document["answer"] is None
    assert "will be decided" in ended.err
    assert f"orchestrator task get {task_id}" in ended.err


async def test_an_order_for_the_wrong_tenant_ends_with_the_code_of_its_dead_letter(
    running: Running,
) -> None:
    task_id = await created(running, "--hold")
    ended = await run(
        running, "task", "cancel", task_id, "--tenant", "someone-else", "--wait-s", "60"
    )

    assert ended.status == 1
    assert ended.err.startswith("error TENANT_MISMATCH: ")


async def test_a_task_that_does_not_end_in_time_is_still_running(running: Running) -> None:
    ended = await run(running, *CREATE, "--hold", "--wait", "--wait-s", "1", "-o", "json")

    assert (ended.status, ended.document["end"]) == (3, None)
    assert "has not ended within 1 s" in ended.err


async def test_the_same_key_names_the_same_task(running: Running) -> None:
    key = ("--key", f"order {uuid.uuid4()}", "--wait", "--wait-s", "60", "-o", "json")
    first, second = await run(running, *CREATE, *key), await run(running, *CREATE, *key)

    assert first.document["id"] == second.document["id"]
    assert first.document["end"] == second.document["end"]
    assert second.document["offset"] > first.document["offset"]


async def test_the_input_comes_from_standard_input_or_from_a_file(
    running: Running, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("input") / "question.json"
    file.write_text(QUESTION)
    create = ("task", "create", "--type", "rag", "--hold", "-o", "json", "--input")
    piped = await run(running, *create, "-", given=QUESTION)
    read = await run(running, *create, f"@{file}")
    views = [
        (await run(running, "task", "get", ended.document["id"], "-o", "json")).document
        for ended in (piped, read)
    ]

    assert [view["input"] for view in views] == [json.loads(QUESTION)] * 2


async def test_an_unknown_task_is_an_error_with_a_code(running: Running) -> None:
    unknown = f"task_{uuid.uuid4()}"
    for arguments in (("get", unknown), ("cancel", unknown), ("watch", unknown)):
        ended = await run(running, "task", *arguments)

        assert ended.status == 1
        assert ended.err == f"error TASK_UNKNOWN: there is no task {unknown}\n"


async def test_tasks_are_created_shown_and_ordered_while_postgres_is_away(
    running: Running, postgres_server: EmbeddedPostgres
) -> None:
    await postgres_server.stop()
    try:
        task_id = await created(running, "--hold")
        answer = await ordered(running, "execute", task_id)
        watched = await run(running, "task", "watch", task_id, "-o", "json")
        view = (await run(running, "task", "get", task_id, "-o", "json")).document
        listed = await run(running, "task", "list")
    finally:
        await postgres_server.start()
    await running.ended([task_id])

    assert answer["kind"] == "execute_requested"
    assert watched.documents[-1]["kind"] == "completed"
    assert (view["status"], view["source"]) == ("completed", "log")
    assert (listed.status, listed.err.split(":")[0]) == (1, "error SINK_UNAVAILABLE")


async def test_pages_of_a_list_follow_each_other(running: Running) -> None:
    conversation = f"conversation_{uuid.uuid4()}"
    ids = [await created(running, "--hold", "--conversation", conversation) for _ in range(3)]
    await rows_of(running, ids)
    which = ("task", "list", "--conversation", conversation, "-o", "json", "--limit", "2")
    first = (await run(running, *which)).documents
    second = (await run(running, *which, "--after", first[-1]["cursor"])).documents

    assert [task["id"] for task in first + second] == ids[::-1]
    assert [len(first), len(second)] == [2, 1]


async def rows_of(running: Running, ids: list[str]) -> None:
    async with asyncio.timeout(60):
        while len(await running.rows(ids)) < len(ids):  # noqa: ASYNC110
            await asyncio.sleep(0.1)  # rows are written by another process


async def test_usage_is_summed_by_tenant_and_model_in_integers(running: Running) -> None:
    tenant = f"tenant-{uuid.uuid4()}"
    task_id = await created(running, "--tenant", tenant, "--wait", "--wait-s", "60")
    row = (await running.ended([task_id]))[task_id]
    ended = await run(running, "usage", "--by", "tenant", "--tenant", tenant, "-o", "json")
    by_model = await run(running, "usage", "--by", "model", "--by", "day", "--tenant", tenant)

    [summed] = ended.documents
    assert summed == {
        "tenant": tenant,
        "tasks": 1,
        "calls": 2,
        "input_tokens": row["input_tokens"],
        "output_tokens": row["output_tokens"],
        "cost_micros": row["cost_micros"],
        "wasted_calls": 0,
        "wasted_input_tokens": 0,
        "wasted_output_tokens": 0,
        "wasted_cost_micros": 0,
    }
    assert str(row["usage_model"]) in by_model.out
    assert f"{row['cost_micros'] // 10**6}.{row['cost_micros'] % 10**6:06d}" in by_model.out
