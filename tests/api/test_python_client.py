"""The clients of ``clients/python`` at two real replicas."""

import asyncio
import os
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from ai_orchestrator import AccessError, AsyncClient, Client, ConflictError, Event, NotFoundError
from tests.api.calling import KEYS, Served
from tests.api.snippets import written_by
from tests.clients.python.calling import done, over_both
from tests.clients.python.test_client_readme import CLIENT, PROGRAMS

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUESTION = {"query": "What is a dead letter?"}


def a_client(kind: Any, served: Served, tenant: str = "acme") -> Client | AsyncClient:
    found: Client | AsyncClient = kind(
        # The first one is not there.
        *("http://127.0.0.1:9", served.one.url, served.two.url),
        key=KEYS[tenant],
    )
    return found


@over_both
async def test_a_task_is_created_watched_and_read(kind: Any, served: Served) -> None:
    client = a_client(kind, served)
    key = f"client-{uuid.uuid4()}"
    created = await done(client, "create", "rag", QUESTION, key=key, conversation_id="c-client")
    items = await done(client, "stream", created.id)
    task = await done(client, "wait", created.id, timeout_s=60)
    again = await done(client, "create", "rag", QUESTION, key=key, conversation_id="c-client")
    with pytest.raises(ConflictError) as other:
        await done(client, "create", "chat", QUESTION, key=key)

    assert again.id == created.id
    assert other.value.code == "IDEMPOTENCY_MISMATCH"
    assert [i.sequence for i in items if isinstance(i, Event)] == list(range(1, task.sequence + 1))
    assert "dead letter" in task.result(dict[str, Any])["answer"].lower()
    assert [step.name for step in task.steps] == ["retrieve", "generate"]


@over_both
async def test_a_held_task_is_not_waited_for_longer_than_asked_and_is_cancelled(
    kind: Any, served: Served
) -> None:
    client = a_client(kind, served)
    held = await done(client, "create", "rag", QUESTION, hold=True)
    with pytest.raises(TimeoutError):
        await done(client, "wait", held.id, timeout_s=1.5)
    cancelled = await done(client, "cancel", held.id, "not needed")
    twice = await done(client, "cancel", held.id)

    assert cancelled.status == twice.status == "cancelled"


@over_both
async def test_lists_and_dead_letters_are_those_of_the_tenant(kind: Any, served: Served) -> None:
    client = a_client(kind, served, "refused")
    task = await done(client, "run", "rag", QUESTION)
    async with asyncio.timeout(60):
        while not (letters := await done(client, "list_dead_letters", task_id=task.id)):  # noqa: ASYNC110  # Postgres is a moment later
            await asyncio.sleep(0.1)
        while task.id not in [  # noqa: ASYNC110
            found.id async for found in _listed(client)
        ]:
            await asyncio.sleep(0.1)
    detail = await done(client, "get_dead_letter", letters[0].id)
    dry = await done(client, "replay_dead_letters", [letters[0].id], reason="fixed")
    gone = await done(client, "discard_dead_letter", letters[0].id, reason="known")

    assert (task.status, letters[0].code) == ("failed", "SERVICE_REFUSED")
    assert detail.dead_letter.id == letters[0].id
    assert sum(dry.counts.values()) == 1
    assert gone.status == "discarded"


async def _listed(client: Client | AsyncClient) -> Any:
    for task in await done(client, "list_tasks", status="failed", page_size=1):
        yield task


@over_both
async def test_a_wrong_key_and_an_unknown_task_are_told_apart(kind: Any, served: Served) -> None:
    with pytest.raises(NotFoundError):
        await done(a_client(kind, served), "get", "task_of_nobody")
    with pytest.raises(AccessError):
        await done(kind(served.one.url, key="orch_wrong"), "get", "task_of_nobody")


@pytest.mark.parametrize("program", PROGRAMS[1:], ids=["sync", "async"])
async def test_the_programs_of_the_page_run_without_our_packages(
    program: str, served: Served, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "HTTP": served.one.url,
        "KEY": KEYS["acme"],
        "PYTHONPATH": str(CLIENT),
    }
    status, written = await written_by(
        *(sys.executable, "-c", program), environment=environment, folder=tmp_path, timeout_s=60
    )

    assert status == 0, written
    # Chunks before it if the program watched in time.
    assert written.strip()
