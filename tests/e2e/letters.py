"""Drives dead letters from outside: its commands as processes, its records in Kafka."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

from orchestrator.letters.connections import LetterConnections, open_connections
from schemas.headers import header_text
from schemas.records import DeadLetterAction, DeadLetterActionKind, DeadLetterItem
from sinks.letters.reader import read_index
from streams.clock import now_ms
from streams.letters.action_log import new_id
from tasks.letters.known import KnownLetter
from tasks.letters.ledger import LetterStatus
from tests.commands import Ended, run_command
from tests.e2e.driving import WAIT_S, Running


async def start_dlq(running: Running, *arguments: str) -> asyncio.subprocess.Process:
    """Start ``orchestrator dlq ...`` as a process of its own, to be killed or stopped."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("ORCH_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator", "dlq", *arguments),
        env={**kept, **running.system.environment, "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def dlq(
    running: Running, *arguments: str, code: int = 0, without: Collection[str] = ()
) -> Ended:
    """Run ``orchestrator dlq ...`` to its end, without some of the system's variables."""
    variables = {
        name: value
        for name, value in running.system.environment.items()
        if name.startswith("ORCH_") and name not in without
    }
    async with asyncio.timeout(WAIT_S):
        ended = await asyncio.to_thread(run_command, ("dlq", *arguments), variables)
    assert ended.status == code, f"{arguments}: {ended}"
    return ended


async def replay(running: Running, *arguments: str) -> dict[str, Any]:
    """Replay for good; return the report."""
    done = ("--execute", "--reason", "a test", "--json")
    report: dict[str, Any] = (await dlq(running, "replay", *arguments, *done)).documents[-1]
    return report


@asynccontextmanager
async def at_work(running: Running) -> AsyncIterator[LetterConnections]:
    async with open_connections(running.system.settings) as connections:
        yield connections


async def known_letters_of(running: Running, tenants: Sequence[str]) -> list[KnownLetter]:
    """The letters of these tenants, from the topics alone."""
    async with at_work(running) as connections:
        return [
            c for c in (await connections.all_letters()).ordered() if c.letter.tenant_id in tenants
        ]


async def letters(running: Running, tenant: str, count: int) -> list[KnownLetter]:
    """Wait until a tenant has so many letters."""
    found: list[KnownLetter] = []
    async with asyncio.timeout(WAIT_S):
        while len(found) < count:
            await asyncio.sleep(0.2)
            found = await known_letters_of(running, [tenant])
    assert len(found) == count
    return found


async def indexed(running: Running, tenants: Sequence[str]) -> dict[str, LetterStatus]:
    """The letters of these tenants and their status, from the index."""
    all_letters = await read_index(running.system.settings.postgres)
    return {c.letter.id: c.status for c in all_letters.ordered() if c.letter.tenant_id in tenants}


async def closed(running: Running, letter_id: str) -> str:
    """Wait until the index closed a letter; return why."""
    async with asyncio.timeout(WAIT_S):
        while True:
            all_letters = await read_index(running.system.settings.postgres)
            for known in all_letters.find(letter_id):
                if known.status is LetterStatus.RESOLVED:
                    return known.state.reason
            await asyncio.sleep(0.2)


async def replayed_letters(running: Running) -> list[str]:
    """The letter of every replayed record in every topic, in no order."""
    found = []
    async with at_work(running) as connections:
        inputs = [running.topics.task_created, running.topics.task_commands]
        bounds = await connections.reader.all_bounds(
            await connections.reader.all_partitions(inputs)
        )
        async for records in connections.reader.read_all(bounds):
            found += [header_text(r.headers, "__dlq.replay.of") for r in records]
    return [letter_id for letter_id in found if letter_id is not None]


async def append_edits(running: Running, edits: dict[str, str]) -> None:
    """Edit many letters at once: id to the new value, base64."""
    async with at_work(running) as connections:
        await connections.publisher()
        await connections.log.append(
            [
                DeadLetterAction(
                    action_id=new_id(),
                    kind=DeadLetterActionKind.EDITED,
                    actor="a test",
                    items=[DeadLetterItem(letter_id=letter_id)],
                    value_base64=value,
                    at=now_ms(),
                )
                for letter_id, value in edits.items()
            ]
        )


def a_tenant(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"
