"""The examples that need a schema registry or kcat, against real ones.

Run by ``make test-analytics``: the set-up fetches 105 MB, once a machine.
"""

import asyncio
import json
import os
import subprocess
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from orchestrator.local.dev.system import DEV_DEFAULTS, open_system
from orchestrator.settings import load_settings
from schemas.codec import adopt_ids, decode, encode
from schemas.records import TaskCreated
from schemas.registry import load_versions
from schemas.topics import Topics
from streams.schema_registry import COMPATIBILITY, register_schemas, registered_text, use_registry
from streams.settings import SchemasSettings
from tests.e2e.driving import ANY_PORTS, Running, a_database, a_rag_task
from tests.examples.logs import filled, json_lines, run_example, with_a_zombie
from tests.examples.servers import a_registry, kcat_environment

pytestmark = [pytest.mark.registry, pytest.mark.timeout(600)]

TABLE = Topics().table([])


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of an Apicurio's Confluent API."""
    async with a_registry(tmp_path_factory.mktemp("registry")) as url:
        yield url


@pytest.fixture(autouse=True)
def _our_own_ids_again() -> Iterator[None]:
    yield
    adopt_ids({})


@pytest.mark.asyncio(loop_scope="session")
async def test_every_subject_is_registered_with_all_versions_and_full_compatibility(
    registry: str,
) -> None:
    settings = SchemasSettings(registry_url=registry)
    registered = await register_schemas(settings, TABLE)
    again = await register_schemas(settings, TABLE)

    subjects = {f"{topic.name}-value" for topic in TABLE if topic.record}
    async with httpx.AsyncClient(base_url=registry + "/") as client:
        assert subjects <= set((await client.get("subjects")).json())
        for subject in subjects:
            level = (await client.get(f"config/{subject}")).json()
            assert level["compatibilityLevel"] == COMPATIBILITY
    assert registered == again == len(subjects)


@pytest.mark.asyncio(loop_scope="session")
async def test_values_carry_the_registrys_ids_and_both_kinds_are_read(registry: str) -> None:
    task = a_rag_task()
    ours = encode(task)
    await use_registry(SchemasSettings(registry_url=registry), TABLE)
    theirs = encode(task)

    assert theirs[:5] != ours[:5]
    assert theirs[5:] == ours[5:]
    assert decode(theirs, TaskCreated) == decode(ours, TaskCreated) == task
    schema_id = int.from_bytes(theirs[1:5], "big")
    async with httpx.AsyncClient(base_url=registry + "/") as client:
        found = (await client.get(f"schemas/ids/{schema_id}")).json()["schema"]
    version = [v for v in load_versions() if v.record == "TaskCreated"][-1]
    assert json.loads(found) == json.loads(registered_text(version))


@pytest.mark.asyncio(loop_scope="session")
async def test_confluents_deserializer_reads_what_a_whole_system_wrote(
    registry: str, kafka_bootstrap: str, postgres_dsn: str, tmp_path: Path
) -> None:
    environment = {
        **ANY_PORTS,
        "ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "ORCH_POSTGRES_DSN": await a_database(postgres_dsn),
        "ORCH_TOPICS_PREFIX": f"{uuid.uuid4()}.",
        "ORCH_SCHEMAS_REGISTRY_URL": registry,
    }
    settings = load_settings(environment, DEV_DEFAULTS)
    task = a_rag_task()
    async with open_system(settings, environment=environment, logs=tmp_path) as system:
        running = Running(system=system, call_log=tmp_path / "calls", logs=tmp_path)
        # With our own id, as an upstream service that knows no registry.
        await running.create([task])
        await running.ended([task.task_id])
        printed = await asyncio.to_thread(run_example, "read_with_registry.py", environment)
        assert system.supervisor.restarts == dict.fromkeys(system.supervisor.restarts, 0)

    read = [event for event in json_lines(printed) if event["task_id"] == task.task_id]
    assert [event["sequence"] for event in read] == list(range(1, len(read) + 1))
    assert (read[0]["kind"], read[-1]["kind"]) == ("created", "completed")


def test_kcat_shows_headers_types_and_dead_letters_by_code(kafka_bootstrap: str) -> None:
    environment, events = filled(kafka_bootstrap)
    ended = subprocess.run(
        ["examples/kcat.sh"],
        env={**os.environ, **environment, **kcat_environment()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = ended.stdout.splitlines()

    assert ended.returncode == 0, ended.stderr
    assert f"1/1\tt0\tce_specversion=1.0,ce_id={events[0].event_id}" in lines[1]
    # Headers know nothing of the acceptance rule: what a former owner wrote is counted too.
    for kind, number in Counter(event.kind for event in with_a_zombie(events)).items():
        counted = [str(number), f"orchestrator.v1.TaskEvent.{kind}"]
        assert counted in [line.split() for line in lines]
    assert [line.split() for line in lines[-2:]] == [
        ["2", "MAGIC_UNKNOWN"],
        ["1", "TENANT_MISSING"],
    ]
