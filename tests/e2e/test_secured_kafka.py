"""Every role works on a secured Kafka with the rules that are printed for it, and no others."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import trustme

from orchestrator.acls import ANALYST, OPERATOR, UPSTREAM
from orchestrator.local.dev.demo_tasks import demo_tasks
from orchestrator.local.dev.fork import Fork
from schemas.codec import encode
from streams.errors import KafkaRightMissingError, KafkaUnavailableError
from streams.kafka.log_reader import LogReader
from streams.kafka.partitioner import partition_of
from streams.kafka.publisher import Outgoing, Publisher
from tests.commands import Ended, run_command
from tests.e2e.driving import a_database
from tests.local.demo.speech import HAS_SPEECH
from tests.secured.broker import PASSWORD, secured_kafka
from tests.secured.system import SecuredSystem, open_secured_system

WAIT_S = 60.0
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secured(
    server_dir: Path, postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SecuredSystem]:
    folder = tmp_path_factory.mktemp("secured")
    dsn = await a_database(postgres_dsn)
    async with (
        secured_kafka(server_dir / "secured-system") as kafka,
        open_secured_system(kafka, dsn, folder) as system,
    ):
        yield system


async def published(secured: SecuredSystem, *records: tuple[bytes, bytes]) -> None:
    """Publish to task-created as an upstream service."""
    topics = secured.running.topics
    publisher = Publisher(secured.settings_of(UPSTREAM), client_id="upstream")
    await publisher.open()
    partitions = topics.settings.partitions
    await publisher.publish(
        [
            Outgoing(
                topic=topics.task_created,
                partition=partition_of(key, partitions),
                key=key,
                value=value,
            )
            for key, value in records
        ]
    )
    await publisher.close()


async def command(secured: SecuredSystem, user: str, *arguments: str) -> Ended:
    """Run a command in a person's shell."""
    return await asyncio.to_thread(run_command, arguments, secured.variables_of(user))


async def test_tasks_of_all_types_end(secured: SecuredSystem) -> None:
    tasks = demo_tasks()
    await published(secured, *((t.task_id.encode(), encode(t)) for t in tasks))
    rows = await secured.running.ended([t.task_id for t in tasks], timeout_s=WAIT_S)
    without_speech = "completed" if HAS_SPEECH else "failed"
    assert {row["type"]: row["status"] for row in rows.values()} == {
        t.type: without_speech if t.type == "voice" else "completed" for t in tasks
    }


async def test_a_dead_letter_is_listed_and_replayed(secured: SecuredSystem) -> None:
    key = f"malformed_{uuid.uuid4()}".encode()
    await published(secured, (key, b"\x00\x00\x00\x00\x65 this is not a record"))
    [letter_id] = await until(lambda: letters(secured, "--code", "DECODE_FAILED"))
    replayed = await command(
        secured, OPERATOR, "dlq", "replay", letter_id, "--execute", "--reason", "again", "--json"
    )
    assert replayed.status == 0, replayed.err + replayed.out
    # The replayed record fails again, as a new letter; the first one is closed by the index.
    [again] = await until(lambda: letters(secured, "--code", "DECODE_FAILED", without=letter_id))
    assert again != letter_id


async def until(found: Callable[[], Awaitable[list[str]]]) -> list[str]:
    """What is found, as soon as something is."""
    async with asyncio.timeout(WAIT_S):
        while not (these := await found()):  # noqa: ASYNC110  # a command's answer
            await asyncio.sleep(0.2)
    return these


async def letters(secured: SecuredSystem, *arguments: str, without: str = "") -> list[str]:
    listed = await command(secured, OPERATOR, "dlq", "list", "-o", "json", *arguments)
    assert listed.status == 0, listed.err
    found = [letter["id"] for letter in listed.documents]
    return [letter_id for letter_id in found if letter_id != without]


async def test_the_service_creates_tasks_and_replays(secured: SecuredSystem) -> None:
    system = secured.running.system
    async with httpx.AsyncClient(base_url=f"http://{system.http_address}") as client:
        task = {"type": "chat", "input": {"query": "What is a lane?"}}
        answer = await client.post("/api/v1/tasks:execute", json=task, timeout=WAIT_S)
        assert answer.status_code == 200, answer.text
        assert answer.json()["task"]["status"] == "completed"
        found = (await client.get("/api/v1/dead-letters?status=open")).json()["dead_letters"]
        ids = [letter["id"] for letter in found]
        body = {"ids": ids, "reason": "tried again", "dry_run": False}
        replayed = await client.post("/api/v1/dead-letters:replay", json=body, timeout=WAIT_S)
        assert replayed.status_code == 200, replayed.text


@pytest.mark.parametrize(
    "arguments",
    [
        ("doctor",),
        ("topics", "list"),
        ("status",),
        ("tail", "task-events", "--from-start", "--until-end"),
    ],
)
async def test_an_operator_looks_around(secured: SecuredSystem, arguments: tuple[str, ...]) -> None:
    looked = await command(secured, OPERATOR, *arguments)
    assert looked.status == 0, looked.err + looked.out
    assert "Authorization" not in looked.err + looked.out


@pytest.mark.parametrize(
    ("variables", "code", "named"),
    [
        (
            {"ORCH_KAFKA_USERNAME": ANALYST},
            "KAFKA_RIGHT_MISSING",
            "Describe on the topic orchestrator.*",
        ),
        ({"ORCH_KAFKA_PASSWORD": "not it"}, "KAFKA_LOGIN_REFUSED", "'admin'"),
        ({"ORCH_KAFKA_CA_FILE": "{other}"}, "KAFKA_TLS_FAILED", "ORCH_KAFKA_CA_FILE"),
    ],
)
@pytest.mark.parametrize("process", ["router", "serve"])
async def test_a_process_that_the_broker_refuses_ends_and_says_why(
    secured: SecuredSystem,
    tmp_path: Path,
    process: str,
    variables: dict[str, str],
    code: str,
    named: str,
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    changed = {name: text.format(other=tmp_path / "other.pem") for name, text in variables.items()}
    child = Fork(
        process,
        ["serve"] if process == "serve" else ["worker", process],
        env={**os.environ, **secured.environment, "ORCH_DEV_FIND": "false", **changed},
        log_path=tmp_path / "log",
    )
    child.start()
    assert await child.wait(WAIT_S) == 1
    said = (tmp_path / "log").read_text()
    assert code in said
    assert named in said
    assert PASSWORD not in said
    assert "not it" not in said


async def test_the_projection_is_rebuilt_with_the_right_of_its_role(
    secured: SecuredSystem,
) -> None:
    rebuilt = await command(secured, "sink", "sink", "rebuild")
    assert rebuilt.status == 0, rebuilt.err


async def test_an_analyst_reads_and_does_not_write(secured: SecuredSystem) -> None:
    topics = secured.running.topics
    settings = replace(secured.settings_of(ANALYST), session_timeout_s=6, request_timeout_s=7)
    async with LogReader(settings, client_id="analyst") as reader:
        assert await reader.bounds(topics.task_events, 0)
        with pytest.raises(KafkaRightMissingError, match="task-created"):
            await reader.bounds(topics.task_created, 0)
    publisher = Publisher(secured.settings_of(ANALYST), client_id="analyst")
    with pytest.raises(KafkaUnavailableError, match="ClusterAuthorizationFailed"):
        # A producer without a right to write anything gets no id.
        await publisher.open()
