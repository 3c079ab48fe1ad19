"""The business metrics after kills of every role: equal to what Postgres says, exactly."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from agents.projection.rebuild import RebuildParts, verify
from orchestrator.local.dev.system import DEV_DEFAULTS, open_system
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from orchestrator.settings import load_settings
from schemas.topics import Topics
from tasks.pipeline_file import load_pipelines
from tests.api.calling import free_ports
from tests.chaos.chaos import Chaos
from tests.chaos.counted import differences, in_postgres, scraped
from tests.chaos.form import Form
from tests.chaos.load import Load, a_command, a_task, faults
from tests.chaos.watch import open_watch
from tests.checker.wire import Value, encode
from tests.e2e.driving import ANY_PORTS, Running, a_database
from tests.e2e.test_task_types import INPUTS

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1800)]

EQUAL_S = 30.0
_TYPES = {"rag": 6, "chat": 4, "agent": 2, "multimodal": 2, "voice": 1}
"""The task types with their weights: speech costs the most."""
_TENANTS = {"slow": 70, "flaky": 15, "failing": 8, "refused": 7}


class AllTypes(Load):
    """Tasks of every type: slow, refused, failing after retries, and such that a retry saves."""

    def _task(self) -> Value:
        kind = self.pick(list(_TYPES), list(_TYPES.values()))
        tenant = self.pick(list(_TENANTS), list(_TENANTS.values()))
        hold, given = self.draw() < 0.05, json.dumps(INPUTS[kind])
        return a_task(tenant, type=kind, input=given, hold=hold)


@pytest_asyncio.fixture(loop_scope="session")
async def counted(
    kafka_server: EmbeddedKafka,
    postgres_server: EmbeddedPostgres,
    form: Form,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[Chaos, str]]:
    """A system with the workers of every step, and the address of its sink's metrics."""
    if form.tasks < 1_000:
        form = replace(form, in_flight=30, surplus=10, call_s=1.5)
    folder, (port,) = tmp_path_factory.mktemp("counted"), free_ports(1)
    misbehaving = [*faults(form.call_s), {"tenant": "flaky", "status": "UNAVAILABLE", "times": 40}]
    environment = {
        **ANY_PORTS,
        "ORCH_KAFKA_BOOTSTRAP": kafka_server.bootstrap,
        "ORCH_KAFKA_SESSION_TIMEOUT_S": "6",
        "ORCH_TOPICS_PREFIX": f"counted-{uuid.uuid4().hex[:8]}.",
        "ORCH_TOPICS_PARTITIONS": str(form.partitions),
        "ORCH_POSTGRES_DSN": await a_database(postgres_server.dsn),
        "ORCH_POSTGRES_COUNTS_EVERY_S": "0.5",
        "ORCH_ROUTER_SNAPSHOT_INTERVAL_S": "2",
        "ORCH_DEMO_FAULTS": json.dumps(misbehaving),
        "ORCH_DEMO_CALL_LOG": str(folder / "calls.jsonl"),
    }
    settings = load_settings(environment, DEV_DEFAULTS)
    topics = Topics(settings.topics)
    steps = load_pipelines().step_names
    followed = [topics.task_events, *(lane for step in steps for lane in topics.lanes(step))]
    async with open_system(
        settings,
        environment=environment,
        logs=folder,
        environment_of={"sink": {"ORCH_METRICS_PORT": str(port)}},
    ) as system:
        running = Running(system=system, call_log=folder / "calls.jsonl", logs=folder)
        counts = dict.fromkeys(followed, form.partitions)
        async with open_watch(kafka_server.bootstrap, counts) as watch:
            chaos = Chaos(running, watch, form, kafka_server, postgres_server)
            yield chaos, f"127.0.0.1:{port}"


async def test_metrics_equal_the_rows_after_kills_of_every_role(
    counted: tuple[Chaos, str],
) -> None:
    chaos, address = counted
    system, postgres = chaos.running.system, chaos.running.system.settings.postgres
    steps = [f"step.{name}" for name in load_pipelines().step_names]
    async with chaos.load("counts", AllTypes) as load:
        for _ in range(chaos.form.twice):
            for name in ("sink", "router", *steps):
                await chaos.kill(name, load)
            for name in ("serve", "dlq-index"):
                system.child(name).kill()
        # Partitions move to a second sink, which dies while it writes, and back.
        second = system.add_replica("sink")
        await chaos.joined("sink", 2)
        await chaos.enough(load)
        system.supervisor.hold(second)
        system.child(second).kill()
        await chaos.kill("sink", load)
    await chaos.joined("sink", 1)
    await run_again(chaos, load)
    await chaos.settle()

    wanted = await in_postgres(postgres.dsn)
    async with asyncio.timeout(EQUAL_S):
        while left := differences(await scraped(address), wanted):
            await asyncio.sleep(0.5)
            print(f"not equal yet: {len(left)}")
    kinds = {labels for name, labels in wanted if name == "orchestrator_tasks_total"}
    assert {kind for _, kind in kinds} == set(_TYPES)
    assert {"pending", "completed", "failed"} <= {status for status, _ in kinds}
    assert {name for name, _ in wanted if "wasted" in name or "calls" in name}
    settings = system.settings
    found = await verify(
        RebuildParts(
            kafka=settings.kafka,
            topics=chaos.running.topics,
            limits=settings.limits,
            postgres=postgres,
        )
    )
    assert (found.differences, found.counted) == (0, chaos.form.partitions)
    print(f"{len(load.ids)} tasks, {len(wanted)} samples equal, {chaos.blows}")


async def run_again(chaos: Chaos, load: Load) -> None:
    """Retry tasks that failed: each counts for another run."""
    rows = await chaos.running.ended(load.ids)
    failed = [task_id for task_id, row in rows.items() if row["status"] == "failed"][:10]
    assert failed
    commands = [
        a_command({"task_id": task_id, "tenant_id": rows[task_id]["tenant_id"]}, "retry")
        for task_id in failed
    ]
    records = [(order["task_id"].encode(), encode(order, "TaskCommand")) for order in commands]
    await chaos.running.publish(chaos.running.topics.task_commands, records)
    for task_id in failed:
        await chaos.running.row_until(task_id, lambda row: row["run"] == 2 and row["completed_at"])
