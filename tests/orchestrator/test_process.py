"""`orchestrator worker all`: every role in one process, for small systems."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from orchestrator.layout import ALL, SINK, roles
from orchestrator.local.dev.system import DEV_DEFAULTS, open_system
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from orchestrator.monitoring.target import read_targets
from orchestrator.process import _CLOSE_S, StopBound, _exit_code
from orchestrator.settings import load_settings
from schemas.errors import SettingsError
from schemas.records import Json, TaskCreated
from sinks.schema.migrate import migrate_up
from sinks.schema.migration import load_migrations
from streams.errors import TopicsDifferError
from streams.runtime.run import FORCE_AFTER_S
from tasks.pipeline_file import load_pipelines
from tests.e2e.driving import ANY_PORTS, Running, a_database, a_rag_task
from tests.e2e.one_role import OneRole
from tests.e2e.test_task_types import INPUTS
from tests.logged import logged

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

SLOW_S = 1.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def together(
    kafka_server: EmbeddedKafka,
    postgres_server: EmbeddedPostgres,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Running]:
    """A system whose roles share a process."""
    folder = tmp_path_factory.mktemp("together")
    environment = {
        **ANY_PORTS,
        "ORCH_KAFKA_BOOTSTRAP": kafka_server.bootstrap,
        "ORCH_KAFKA_SESSION_TIMEOUT_S": "6",
        "ORCH_TOPICS_PREFIX": f"together-{uuid.uuid4().hex[:8]}.",
        "ORCH_TOPICS_PARTITIONS": "2",
        "ORCH_POSTGRES_DSN": await a_database(postgres_server.dsn),
        "ORCH_DEMO_FAULTS": json.dumps([{"tenant": "slow", "delay_s": SLOW_S}]),
        "ORCH_DEMO_CALL_LOG": str(folder / "calls.jsonl"),
    }
    settings = load_settings(environment, DEV_DEFAULTS)
    async with open_system(settings, environment=environment, logs=folder, together=True) as system:
        yield Running(system=system, call_log=folder / "calls.jsonl", logs=folder)


def tasks_of_all_types(tenant: str, count: int) -> list[TaskCreated]:
    return [
        a_rag_task(tenant, type=kind, input=Json(json.dumps(given)))
        for _ in range(count)
        for kind, given in INPUTS.items()
    ]


async def test_one_process_runs_tasks_of_every_type(together: Running) -> None:
    tasks = tasks_of_all_types("acme", 1)
    await together.create(tasks)

    ended = await together.ended([task.task_id for task in tasks])

    assert {row["status"] for row in ended.values()} == {"completed"}


async def test_each_line_of_its_log_names_the_role_that_wrote_it(together: Running) -> None:
    def started() -> set[str]:
        texts = (together.logs / f"{ALL}.log").read_text().splitlines()
        lines = [json.loads(text) for text in texts if text.startswith("{")]
        return {line["role"] for line in lines if line["event"] == "role_started"}

    await together.until(lambda: set(roles(load_pipelines())) <= started())


async def test_killed_under_load_it_loses_nothing(together: Running) -> None:
    tasks = tasks_of_all_types("slow", 6)
    ids = [task.task_id for task in tasks]
    await together.create(tasks)
    await together.until(lambda: len(together.calls_by_key(ids)) >= len(INPUTS))

    together.system.child(ALL).kill()

    await together.ended(ids)
    await together.check(ids)


async def test_asked_to_stop_it_finishes_its_calls_and_makes_none_again(together: Running) -> None:
    tasks = tasks_of_all_types("slow", 2)
    ids = [task.task_id for task in tasks]
    await together.create(tasks)
    await together.until(lambda: len(together.calls_by_key(ids)) >= len(INPUTS))

    await together.system.supervisor.stop(ALL)
    code = together.system.child(ALL).returncode
    await together.system.supervisor.start(ALL)

    assert code == 0
    await together.ended(ids)
    assert set(together.calls_by_key(ids).values()) == {1}


async def test_its_readiness_names_the_role_that_is_not_ready(
    together: Running, postgres_server: EmbeddedPostgres
) -> None:
    [address] = [one.address for one in read_targets(together.system.targets) if one.process == ALL]
    task = a_rag_task()
    async with httpx.AsyncClient(base_url=f"http://{address}") as client:
        await until_ready(client, ready=True)
        await postgres_server.stop()
        try:
            await together.create([task])
            parts = await until_ready(client, ready=False)
        finally:
            await postgres_server.start()
        await until_ready(client, ready=True)

    assert set(parts) <= {f"{SINK}.postgres", "dlq-index.postgres"}
    await together.ended([task.task_id])


async def test_a_role_that_cannot_start_ends_the_process_with_its_error(
    kafka_bootstrap: str, postgres_dsn: str, tmp_path: Path
) -> None:
    of_another_version = await a_database(postgres_dsn)
    await migrate_up(of_another_version, load_migrations()[:1])
    both = OneRole("router sink", kafka_bootstrap, tmp_path, ORCH_POSTGRES_DSN=of_another_version)
    await both.make_topics()
    async with both.running():
        code = await both.process.wait(60)

    assert code == 1
    assert "error MIGRATION" in both.process.log_tail()


async def test_what_every_role_lacks_is_said_once() -> None:
    missing, refused = TopicsDifferError("a.v1: is missing"), SettingsError("no address")
    same = TopicsDifferError("a.v1: is missing")
    with (
        logged("orchestrator.process.log") as lines,
        pytest.raises(TopicsDifferError),
    ):
        _exit_code({"router": missing, "sink": same, "step.a": refused}, cancelled=set())

    assert [line["role"] for line in lines] == ["step.a"]


async def test_roles_that_end_together_close_within_the_time_of_the_slowest() -> None:
    together, alone = StopBound(20.0, began_s=100.0), StopBound(None, began_s=100.0)
    longest_s = 20.0 + FORCE_AFTER_S + _CLOSE_S

    # The router has nothing in flight; a step worker was ended at the end of its drain.
    for ended_s in (100.0, 105.0, 100.0 + 20.0 + FORCE_AFTER_S):
        assert ended_s + together.close_s(ended_s) == 100.0 + longest_s
    assert alone.close_s(135.0) == _CLOSE_S


async def until_ready(client: httpx.AsyncClient, *, ready: bool) -> dict[str, str]:
    async with asyncio.timeout(60):
        while True:
            answer = await client.get("/readyz")
            if answer.is_success == ready:
                found: dict[str, str] = answer.json().get("parts", {})
                return found
            await asyncio.sleep(0.1)
