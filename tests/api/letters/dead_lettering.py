"""Makes dead letters in the running system, and waits until the service shows them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from orchestrator.letters.connections import open_connections
from schemas.codec import encode
from schemas.dead_letter_record import read_dead_letter
from schemas.records import Json
from streams.letters.action_log import new_id
from streams.letters.lease import Lease, LeaseSettings
from tasks.letters.plan import ReplayOrder
from tests.api.calling import WAIT_S, Served
from tests.e2e.driving import a_rag_task


async def some_dead_letters(
    served: Served, tenant: str, count: int = 1, **changes: Any
) -> list[str]:
    """The ids of dead letters of tasks with a type that nobody knows, once they are shown."""
    tasks = [a_rag_task(tenant, **({"type": "poetry"} | changes)) for _ in range(count)]
    return await dead_lettered(served, tenant, [(t.task_id.encode(), encode(t)) for t in tasks])


async def a_dead_letter(served: Served, tenant: str, **changes: Any) -> str:
    """As :func:`some_dead_letters`, one."""
    [letter_id] = await some_dead_letters(served, tenant, **changes)
    return letter_id


async def dead_lettered(
    served: Served,
    tenant: str | None,
    records: Sequence[tuple[bytes | None, bytes | None]],
    headers: list[tuple[str, bytes]] | None = None,
    *,
    topic: str | None = None,
) -> list[str]:
    """Publish records that become dead letters; return their letters' ids.

    Args:
        served: the running system.
        tenant: who sees them; waits until he does. None: nobody does.
        records: keys and values.
        headers: of each record.
        topic: ``task-created`` if it is not given.
    """
    running = served.running
    topic = topic or running.topics.task_created
    places = await running.publish(topic, records, headers=headers)
    found = [await running.dead_letter(topic, place) for place in places]
    ids = [read_dead_letter(record, running.topics).id for record in found]
    if tenant is not None:
        await until_shown(served, tenant, ids)
    return ids


async def until_shown(served: Served, tenant: str, ids: Sequence[str]) -> None:
    """Wait until the index has these letters."""
    http = served.one.shared(tenant)
    async with asyncio.timeout(WAIT_S):
        for letter_id in ids:
            path = f"/api/v1/dead-letters/{letter_id}"
            while (answer := await http.get(path)).status_code != 200:
                assert answer.status_code in (404, 503), answer.text
                await asyncio.sleep(0.1)


async def until_status(served: Served, tenant: str, letter_id: str, status: str) -> dict[str, Any]:
    """Wait until a letter has a status; return it as the service tells it."""
    http = served.one.shared(tenant)
    async with asyncio.timeout(WAIT_S):
        while True:
            answer = await http.get(f"/api/v1/dead-letters/{letter_id}")
            letter: dict[str, Any] = answer.json()["dead_letter"]
            if letter["status"] == status:
                return letter
            await asyncio.sleep(0.2)


@asynccontextmanager
async def another_replay(served: Served) -> AsyncIterator[None]:
    """Somebody who holds the right to replay."""
    async with open_connections(served.running.system.settings) as connections:
        await connections.publisher()
        order = ReplayOrder(replay_id=new_id(), actor="an operator", reason="slowly")
        lease = Lease(connections.log, order, LeaseSettings(heartbeat_s=0.2))
        async with lease.held(Json("{}"), dict):
            yield
            await lease.end("finished", {})
