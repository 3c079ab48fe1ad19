"""Clients under attack: an answer belongs to its call, or the call fails with a stable code.

Each attack of ``rows`` is made on each client of ``columns``. ``docs/resilience.md`` names this
suite.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.agents.services.attacks.columns import COLUMNS, AttackedClient, Column, Outcome, opened
from tests.agents.services.attacks.rows import (
    AGAIN,
    ANSWERED,
    ENDLESS_INTERIM,
    NEVER,
    Attack,
    attacks,
)
from tests.agents.services.attacks.wire import Attacker, Script
from tests.agents.services.secured import Files, server_context

PUBLISHED = set(
    re.findall(r"^\| `([A-Z_]+)`", Path("docs/errors.md").read_text("utf-8"), re.MULTILINE)
)
CLIENT_CODES = {"API_UNAVAILABLE", "ANSWER_INVALID", "ANSWER_TOO_LARGE", "HTTP_307", "HTTP_503"}
"""The codes of ``clients/python`` itself."""
SLACK_S = 3.0
"""How much later than its bound a call may end, on a machine that is busy."""
SOON_S = 10.0

ROWS = {attack.name: attack for attack in attacks()}
TABLE = [
    pytest.param(column, attack, id=f"{column.name}: {attack.name}")
    for attack in ROWS.values()
    for column in COLUMNS
    if (attack.h2 if column.h2 else attack.h1) is not None
    # A program that blocks cannot cancel its call, and httpx has no clock for interim responses.
    if not (column.name == "python" and (attack.cancelled or attack.name == ENDLESS_INTERIM))
]


@contextlib.asynccontextmanager
async def attacked(
    column: Column, attack: Attack, folder: Path
) -> AsyncIterator[tuple[Attacker, AttackedClient]]:
    script: Script | None = attack.h2 if column.h2 else attack.h1
    assert script is not None
    files = Files(folder) if attack.tls else None
    context = server_context(files.server()) if files else None
    if context is not None and column.h2:
        context.set_alpn_protocols(["h2"])
    attacker = Attacker(column.content, script, column.h2, early=attack.early)
    server = await asyncio.start_server(attacker.serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with opened(column, port, files.ca if files else None) as client:
        try:
            yield attacker, client
        finally:
            attacker.ended.set()
            server.close()


async def first_call(attack: Attack, attacker: Attacker, client: AttackedClient) -> Outcome | None:
    """The end of the attacked call; None: it was cancelled."""
    if not attack.cancelled:
        return await client.ask("t1", attack.timeout_s, large=attack.early)
    calling = asyncio.create_task(client.ask("t1", attack.timeout_s))
    await attacker.called.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    return None


def kind_of(outcome: Outcome) -> str:
    if outcome.answer:
        return ANSWERED
    return AGAIN if outcome.again else NEVER


@pytest.mark.parametrize(("column", "attack"), TABLE)
async def test_an_answer_belongs_to_its_call_or_the_call_fails_when(
    column: Column, attack: Attack, tmp_path: Path
) -> None:
    async with attacked(column, attack, tmp_path) as (attacker, client):
        began_s = time.monotonic()
        async with asyncio.timeout(attack.timeout_s + SLACK_S):
            outcome = await first_call(attack, attacker, client)
        lasted_s = time.monotonic() - began_s
        attacker.ended.set()
        async with asyncio.timeout(SOON_S):
            await attacker.done.wait()
        others = [await client.ask(name, SOON_S) for name in ("t2", "t3")]

    for name, found in zip(("t2", "t3"), others, strict=True):
        # Over HTTP/2 calls share a connection: the next one may still find the broken one.
        fails_with_it = column.h2 and name == "t2" and found.again
        assert found == Outcome(answer=name) or fails_with_it
    if outcome is None:
        return
    ends = attack.h2_ends if column.h2 and attack.h2_ends else attack.ends
    assert kind_of(outcome) in ends, outcome
    assert outcome.answer in ("", "t0" if attack.early else "t1")
    assert not outcome.code or outcome.code in PUBLISHED | CLIENT_CODES, outcome
    assert lasted_s < attack.timeout_s + SLACK_S
