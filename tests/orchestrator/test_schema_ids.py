"""Every program that reads or writes records speaks the ids of the system's registry."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.codec import adopt_ids, unframe
from streams.kafka.log_reader import LogReader
from streams.settings import KafkaSettings
from tests.commands import Ended, run_command
from tests.orchestrator.registry import FIRST_ID, a_registry

pytestmark = pytest.mark.slow

NOBODY = "127.0.0.1:1"
WITHOUT_ANSWER = {
    "ORCH_KAFKA_BOOTSTRAP": NOBODY,
    "ORCH_POSTGRES_DSN": f"postgresql://{NOBODY}/none",
    "ORCH_SCHEMAS_REGISTRY_URL": f"http://{NOBODY}",
}
CREATE = ("task", "create", "--type", "rag", "--input", '{"query": "?"}', "--direct")


@pytest.fixture(autouse=True)
def _our_own_ids_again() -> Iterator[None]:
    yield
    adopt_ids({})


@pytest.mark.parametrize(
    "arguments",
    [
        CREATE,
        ("task", "get", "task_1", "--direct"),
        ("task", "watch", "task_1", "--direct"),
        ("task", "cancel", "task_1", "--direct"),
        ("task", "cancel", "task_1", "--direct", "--tenant", "acme"),
        ("tail", "task-events"),
        ("dlq", "show", "0"),
        ("dlq", "discard", "01234567"),
    ],
    ids=" ".join,
)
def test_a_command_that_speaks_records_does_not_begin_without_the_registry(
    arguments: tuple[str, ...],
) -> None:
    ended = run_command(arguments, WITHOUT_ANSWER)

    assert ended.status == 1
    assert ended.err.splitlines()[-1].startswith("error SCHEMA_REGISTRY_FAILED: "), ended.err


@pytest.mark.parametrize("arguments", [("sink", "verify"), ("dev", "--once")], ids=" ".join)
def test_a_program_that_has_a_log_does_not_begin_either(arguments: tuple[str, ...]) -> None:
    # In a process of its own, whose log it may set up.
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        env={**os.environ, **WITHOUT_ANSWER},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("error SCHEMA_REGISTRY_FAILED: ")


def test_nothing_but_the_one_place_adopts_ids() -> None:
    callers = [
        path.as_posix()
        for room in ("agents", "orchestrator")
        for path in Path(room).rglob("*.py")
        if "use_registry(" in path.read_text("utf-8")
    ]

    assert callers == ["orchestrator/schema_ids.py"]


async def test_a_task_created_by_command_carries_the_registrys_id_and_tail_reads_it(
    kafka_bootstrap: str,
) -> None:
    with a_registry() as url:
        environment = {
            "ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap,
            "ORCH_SCHEMAS_REGISTRY_URL": url,
            "ORCH_TOPICS_PREFIX": "registered.",
            "ORCH_TOPICS_PARTITIONS": "1",
            "ORCH_TOPICS_REPLICATION_FACTOR": "1",
        }
        applied = await in_a_thread(("topics", "apply"), environment)
        created = await in_a_thread((*CREATE, "-o", "json"), environment)
        whole = ("tail", "task-created", "--from-start", "--until-end")
        tailed = await in_a_thread(whole, environment)

    assert "subjects registered" in applied.out
    async with LogReader(KafkaSettings(bootstrap=kafka_bootstrap), client_id="test") as reader:
        [[record]] = [b async for b in reader.read("registered.task-created.v1", 0, 0, 1)]
    assert unframe(record.value or b"")[0] >= FIRST_ID
    assert tailed.document["value"]["task_id"] == created.document["id"]


async def in_a_thread(arguments: tuple[str, ...], environment: dict[str, str]) -> Ended:
    return await asyncio.to_thread(run_command, arguments, environment)
