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
import pytest_asyncio

from orchestrator.local.dev.system import SERVE
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from schemas.topics import Topics
from streams.kafka.admin import Admin
from tests.e2e.driving import WAIT_S, Running
from tests.e2e.task_commands import CREATE, QUESTION, Commands

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session", params=["direct", "service"])
async def user(running: Running, request: pytest.FixtureRequest) -> Commands:
    """A user of either way."""
    if request.param == "direct":
        return Commands(running, direct=True)
    return await Commands.by_the_service(running)


@pytest_asyncio.fixture(loop_scope="session")
async def direct(running: Running) -> Commands:
    """A user who does without the service."""
    return Commands(running, direct=True)


@pytest_asyncio.fixture(loop_scope="session")
async def served(running: Running) -> Commands:
    """A user who knows nothing but the service."""
    return await Commands.by_the_service(running)


async def test_a_created_task_is_waited_for_and_shown_alike_from_log_and_from_postgres(
    user: Commands, direct: Commands
) -> None:
    conversation = f"conversation_{uuid.uuid4()}"
    waited = await user.run(
        *CREATE, "--conversation", conversation, "--wait", "--wait-s", "60", "-o", "json"
    )
    task_id = waited.document["id"]
    await user.running.ended([task_id])
    from_log = await direct.view(task_id)
    from_rows = await postgres_view(direct, task_id)
    listed = await user.run("task", "list", "--conversation", conversation, "-o", "json")
    shown = await user.run("task", "get", task_id)

    assert (waited.status, waited.document["end"]["kind"]) == (0, "completed")
    assert from_log["source"] == "log"
    assert from_rows | {"source": "log"} == from_log
    assert [step["step"] for step in from_log["attempts"]] == ["retrieve", "generate"]
    assert from_log["timeline"][-1] == waited.document["end"]
    assert [task["id"] for task in listed.documents] == [task_id]
    assert "completed" in shown.out
    assert task_id in shown.out


async def postgres_view(direct: Commands, task_id: str) -> Any:
    """What ``get`` shows when the log does not have the task: here, a log without a record."""
    system = direct.running.system.settings
    settings = replace(system.topics, prefix=f"empty-{uuid.uuid4()}.", partitions=1)
    topics = Topics(settings)
    table = topics.table([], system.limits)
    async with Admin(system.kafka) as admin:
        await admin.apply([topic for topic in table if topic.name == topics.task_events])
    ended = await direct.run(
        "task", "get", task_id, "-o", "json", ORCH_TOPICS_PREFIX=settings.prefix
    )
    assert ended.document["source"] == "postgres"
    return ended.document


async def test_the_service_shows_a_task_as_the_log_has_it_also_when_postgres_alone_is_asked(
    direct: Commands, served: Commands
) -> None:
    key = f"order {uuid.uuid4()}"
    details = ("--user", "u-1", "--key", key, "--metadata", '{"a": [1.50, null]}')
    task_id = await served.created("--hold", "--priority", "low", *details)
    await served.ordered("set-priority", task_id, "3", "--reason", "it can wait")
    while_held = [await way.view(task_id) for way in (direct, served)]
    await served.ordered("execute", task_id)
    await served.running.ended([task_id])
    from_log = await direct.view(task_id)
    async with asyncio.timeout(WAIT_S):
        # Once the sink has written it, the service forgets it.
        while (from_service := await served.view(task_id))["source"] != "postgres":
            assert from_service == from_log

    assert while_held[0] == while_held[1]
    assert from_service | {"source": "log"} == from_log
    assert (from_log["idempotency_key"], from_log["user_id"]) == (key, "u-1")


async def test_both_ways_list_the_same_with_the_same_cursors(
    direct: Commands, served: Commands
) -> None:
    conversation = f"conversation_{uuid.uuid4()}"
    ids = [await served.created("--hold", "--conversation", conversation) for _ in range(2)]
    await rows_of(served.running, ids)
    newest = ("task", "list", "--conversation", conversation, "--status", "pending", "-o", "json")
    since = ("task", "list", "--order", "queue", "--since", "2026-01-01", "-o", "json")
    for question in (newest, since):
        lists = [(await way.run(*question)).documents for way in (direct, served)]

        assert lists[0] == lists[1]
        assert {task["id"] for task in lists[0]} >= set(ids)


async def test_a_held_task_waits_until_it_is_executed_then_completes(user: Commands) -> None:
    task_id = await user.created("--hold")
    answer = await user.ordered("execute", task_id, "--reason", "now")
    watched = await user.run("task", "watch", task_id, "-o", "json")

    assert (answer["kind"], answer["reason"]) == ("execute_requested", "now")
    assert answer["actor"].startswith("cli:" if user.direct else "api/grpc")
    assert [line["sequence"] for line in watched.documents] == list(
        range(1, len(watched.documents) + 1)
    )
    assert watched.documents[0]["phase"] == "held"
    assert watched.documents[-1]["kind"] == "completed"


async def test_both_ways_print_the_same_of_an_order_and_of_a_watch(
    direct: Commands, served: Commands
) -> None:
    ids = [await way.created("--hold") for way in (direct, served)]
    orders = [
        (await way.run("task", "cancel", task_id, "--wait-s", "60", "-o", "json")).document
        for way, task_id in zip((direct, served), ids, strict=True)
    ]
    watched = [await way.run("task", "watch", ids[0], "-o", "json") for way in (direct, served)]

    assert list(orders[0]) == list(orders[1])
    assert list(orders[0]["answer"]) == list(orders[1]["answer"])
    assert watched[0] == watched[1]


async def test_the_direct_way_names_who_orders(direct: Commands) -> None:
    task_id = await direct.created("--hold")
    answer = await direct.ordered("cancel", task_id, "--actor", "ada")

    assert answer["actor"] == "ada"


async def test_ctrl_c_ends_a_watch_without_a_traceback(user: Commands) -> None:
    task_id = await user.created("--hold")
    way = ["--direct"] if user.direct else []
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator", "task", "watch", task_id, *way),
        env={**os.environ, **user.environment},
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


async def test_a_watch_outlives_a_restart_of_the_service(served: Commands) -> None:
    task_id = await served.created("--hold")
    watching = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator", "task", "watch", task_id, "-o", "json"),
        env={**os.environ, **served.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert watching.stdout is not None
    async with asyncio.timeout(WAIT_S):
        first = await watching.stdout.readline()
        await served.running.system.supervisor.restart(SERVE)
        await Commands(served.running, direct=True).ordered("cancel", task_id)
        rest, err = await watching.communicate()

    assert [json.loads(line)["sequence"] for line in [first, *rest.splitlines()]] == [1, 2]
    assert (watching.returncode, err) == (0, b"")


async def test_a_held_task_changes_its_priority_and_is_cancelled_twice(user: Commands) -> None:
    task_id = await user.created("--hold", "--priority", "low")
    raised = await user.ordered("set-priority", task_id, "high")
    queue = await user.run("task", "list", "--order", "queue", "-o", "json")
    first = await user.ordered("cancel", task_id, "--reason", "not needed")
    second = await user.ordered("cancel", task_id)

    assert (raised["kind"], raised["priority"]) == ("priority_changed", 10)
    assert all(task["status"] == "pending" for task in queue.documents)
    assert (first["kind"], first["reason"]) == ("cancelled", "not needed")
    assert (second["kind"], second["reason"]) == ("command_refused", "TASK_ALREADY_CANCELLED")


async def test_a_cancel_of_a_completed_task_is_refused_with_its_code(user: Commands) -> None:
    task_id = await user.created("--wait", "--wait-s", "60")
    ended = await user.run("task", "cancel", task_id, "--wait-s", "60", "-o", "json")

    assert ended.status == 1
    assert ended.err == f"error TASK_NOT_CANCELLABLE: {task_id} is completed (completed)\n"
    assert ended.document["answer"]["reason"] == "TASK_NOT_CANCELLABLE"


async def test_a_failed_task_ends_its_wait_with_its_code_and_is_retried(direct: Commands) -> None:
    ended = await direct.run(*CREATE, "--tenant", "refused", "--wait", "-o", "json")
    task_id = ended.document["id"]
    answer = await direct.ordered("retry", task_id, "--run", "1", "--actor", "ada")
    watched = await direct.run("task", "watch", task_id, "--after", "3", "-o", "json")
    view = await direct.view(task_id)

    assert ended.status == 1
    assert ended.err.startswith("error SERVICE_"), ended.err
    assert (answer["kind"], answer["run"]) == ("retried", 2)
    assert watched.documents[0]["sequence"] > 3
    assert (view["status"], view["run"]) == ("failed", 2)
    assert [attempt["run"] for attempt in view["attempts"]] == [1, 2]


async def test_a_task_whose_deadline_passes_is_retried_with_a_fresh_one(user: Commands) -> None:
    late = await user.run(*CREATE, "--hold", "--timeout", "0.5", "--wait", "-o", "json")
    task_id = late.document["id"]
    answer = await user.ordered("retry", task_id, "--run", "1", "--reason", "again")

    assert late.status == 1
    assert late.err.startswith("error DEADLINE_EXCEEDED: ")
    assert late.document["end"]["error"] == "DEADLINE_EXCEEDED"
    assert (answer["kind"], answer["run"], answer["reason"]) == ("retried", 2, "again")


async def test_a_retry_that_means_another_run_gets_no_answer_and_says_where_it_is(
    user: Commands,
) -> None:
    task_id = await user.created("--hold")
    ended = await user.run("task", "retry", task_id, "--run", "7", "--wait-s", "2", "-o", "json")

    assert ended.status == 3
    assert ended.document["answer"] is None
    assert "will be decided" in ended.err
    assert f"orchestrator task get {task_id}" in ended.err


async def test_an_order_for_the_wrong_tenant_ends_with_the_code_of_its_dead_letter(
    direct: Commands,
) -> None:
    task_id = await direct.created("--hold")
    ended = await direct.run(
        "task", "cancel", task_id, "--tenant", "someone-else", "--wait-s", "60"
    )

    assert ended.status == 1
    assert ended.err.startswith("error TENANT_MISMATCH: ")


async def test_a_task_of_another_tenant_is_unknown_to_the_service(
    direct: Commands, served: Commands
) -> None:
    task_id = await direct.created("--hold", "--tenant", "someone-else")
    ended = await served.run("task", "cancel", task_id)

    assert (ended.status, ended.err) == (
        1,
        f"error TASK_UNKNOWN: there is no task {task_id} of the tenant default; "
        "--direct finds those of all tenants\n",
    )


async def test_a_task_that_does_not_end_in_time_is_still_running(user: Commands) -> None:
    ended = await user.run(*CREATE, "--hold", "--wait", "--wait-s", "1", "-o", "json")

    assert (ended.status, ended.document["end"]) == (3, None)
    assert "has not ended within 1 s" in ended.err


async def test_the_same_key_names_the_same_task(user: Commands) -> None:
    key = ("--key", f"order {uuid.uuid4()}", "--wait", "--wait-s", "60", "-o", "json")
    first, second = await user.run(*CREATE, *key), await user.run(*CREATE, *key)

    assert first.document["id"] == second.document["id"]
    assert first.document["end"] == second.document["end"]
    if user.direct:
        assert second.document["offset"] > first.document["offset"]
    else:
        assert (second.document["partition"], second.document["offset"]) == (None, None)


async def test_the_input_comes_from_standard_input_or_from_a_file(
    user: Commands, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("input") / "question.json"
    file.write_text(QUESTION)
    create = ("task", "create", "--type", "rag", "--hold", "-o", "json", "--input")
    piped = await user.run(*create, "-", given=QUESTION)
    read = await user.run(*create, f"@{file}")
    views = [await user.view(ended.document["id"]) for ended in (piped, read)]

    assert [view["input"] for view in views] == [json.loads(QUESTION)] * 2


async def test_an_unknown_task_is_an_error_with_a_code(user: Commands) -> None:
    unknown = f"task_{uuid.uuid4()}"
    orders = (("cancel", unknown), ("execute", unknown), ("set-priority", unknown, "1"))
    for arguments in (("get", unknown), ("watch", unknown), ("retry", unknown), *orders):
        ended = await user.run("task", *arguments)

        assert ended.status == 1
        hint = " of the tenant default; --direct finds those of all tenants"
        if user.direct:
            hint = ""
        assert ended.err == f"error TASK_UNKNOWN: there is no task {unknown}{hint}\n"


async def test_an_empty_list_says_which_tenant_was_asked(user: Commands) -> None:
    tenant = ("--tenant", "stranger") if user.direct else ()
    ended = await user.run("task", "list", "--type", "not-used", *tenant)

    asked = "stranger" if user.direct else "default"
    assert ended.err == (
        f"no task of the tenant {asked} was found; --direct --tenant NAME shows another tenant's\n"
    )


REFUSED = {
    "TASK_TYPE_UNKNOWN": ("--type", "none"),
    "JSON_INVALID": ("--input", ""),
    "INPUT_INCOMPLETE": ("--input", "{}"),
    "TIMEOUT_OUT_OF_RANGE": ("--timeout", "1e9"),
    "INPUT_TOO_LARGE": ("--input", json.dumps({"query": "x" * 300_000})),
    "TEXT_NOT_STORABLE": ("--key", "a\0b"),
    "ID_INVALID": ("--user", "a b"),
}


@pytest.mark.parametrize("code", REFUSED)
async def test_a_task_that_is_refused_is_told_by_the_same_code_on_both_ways(
    user: Commands, code: str
) -> None:
    ended = await user.run(*CREATE, *REFUSED[code])

    assert ended.status == 1
    assert ended.err.startswith(f"error {code}: "), ended.err


async def test_a_cursor_of_another_order_is_refused_with_its_code(user: Commands) -> None:
    ended = await user.run("task", "list", "--after", "q.1.1.task_1")

    assert (ended.status, ended.err.split(":")[0]) == (1, "error CURSOR_INVALID")


async def test_tasks_are_created_shown_and_ordered_while_postgres_is_away(
    user: Commands, postgres_server: EmbeddedPostgres
) -> None:
    await postgres_server.stop()
    try:
        task_id = await user.created("--hold")
        answer = await user.ordered("execute", task_id)
        watched = await user.run("task", "watch", task_id, "-o", "json")
        view = await user.view(task_id)
        listed = await user.run("task", "list")
    finally:
        await postgres_server.start()
    await user.running.ended([task_id])

    assert answer["kind"] == "execute_requested"
    assert watched.documents[-1]["kind"] == "completed"
    assert (view["status"], view["source"]) == ("completed", "log")
    assert (listed.status, listed.err.split(":")[0]) == (1, "error SINK_UNAVAILABLE")


async def test_pages_of_a_list_follow_each_other(user: Commands) -> None:
    conversation = f"conversation_{uuid.uuid4()}"
    ids = [await user.created("--hold", "--conversation", conversation) for _ in range(3)]
    await rows_of(user.running, ids)
    which = ("task", "list", "--conversation", conversation, "-o", "json", "--limit", "2")
    first = (await user.run(*which)).documents
    second = (await user.run(*which, "--after", first[-1]["cursor"])).documents

    assert [task["id"] for task in first + second] == ids[::-1]
    assert [len(first), len(second)] == [2, 1]


async def rows_of(running: Running, ids: list[str]) -> None:
    async with asyncio.timeout(60):
        while len(await running.rows(ids)) < len(ids):  # noqa: ASYNC110
            await asyncio.sleep(0.1)  # rows are written by another process


async def test_usage_is_summed_by_tenant_and_model_in_integers(direct: Commands) -> None:
    tenant = f"tenant-{uuid.uuid4()}"
    task_id = await direct.created("--tenant", tenant, "--wait", "--wait-s", "60")
    row = (await direct.running.ended([task_id]))[task_id]
    ended = await direct.run("usage", "--by", "tenant", "--tenant", tenant, "-o", "json")
    by_model = await direct.run("usage", "--by", "model", "--by", "day", "--tenant", tenant)

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
