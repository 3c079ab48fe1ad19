"""Keeps the embedded servers of ``dev`` running: restarts a server that ends, with its data."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import structlog

from orchestrator.local.dev.log_excerpt import last_severe_line
from orchestrator.local.embedded.errors import EmbeddedError
from orchestrator.local.embedded.servers import Servers

log = structlog.get_logger()

_TRIES_MAX = 5
_PAUSE_S = 0.5
"""Seconds after the first failed start; doubled after each further one."""
_HEALTHY_AFTER_S = 60.0
"""A server that lived for this time has not failed at its start: tries are counted anew."""
_TAIL_LINES = 20


Restarts = Counter[str]
"""How often each server was started again after it had ended, by name."""


class ServerEndsError(EmbeddedError):
    """An embedded server ends again and again soon after its start. Read its log."""

    code = "SERVER_ENDS"


class KeptServer(Protocol):
    """An embedded server."""

    @property
    def log_path(self) -> Path:
        """Its log file."""

    async def wait(self) -> int:
        """Wait until it ends; its exit status, or minus the signal."""

    async def start_again(self) -> str:
        """Start it on the port that it had."""

    def log_tail(self, lines: int = ...) -> str:
        """The last lines of its log."""


@asynccontextmanager
async def kept_running(
    servers: Servers, restarts: Restarts | None = None
) -> AsyncIterator[Awaitable[None]]:
    """Start the servers that are ours again when they end, until the context ends.

    Args:
        servers: those that are not ours are left alone.
        restarts: counts by name how often each server was started again.

    Yields:
        What fails with an ``EmbeddedError`` when a server cannot be started again, and else
        never ends. Its servers are down then: end the program.
    """
    kept: dict[str, KeptServer | None] = {"kafka": servers.kafka, "postgres": servers.postgres}
    keeping = [
        asyncio.create_task(keep(name, server, restarts=restarts), name=f"keep-{name}")
        for name, server in kept.items()
        if server is not None
    ]
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    failed = asyncio.ensure_future(_first([*keeping, never]))
    try:
        yield failed
    finally:
        for task in (failed, never, *keeping):
            task.cancel()
        await asyncio.gather(failed, *keeping, return_exceptions=True)


async def keep(
    name: str,
    server: KeptServer,
    *,
    pause_s: float = _PAUSE_S,
    restarts: Restarts | None = None,
) -> None:
    """Start a server again each time it ends; each end is one line in the log.

    Cancellation: a start under way is undone.

    Raises:
        EmbeddedError: it did not start in five tries; the server is down. A start counts until
            the server has lived for a minute, so one that ends at once is given up, too.
    """
    tries = 0
    while True:
        started = time.monotonic()
        status = await server.wait()
        if time.monotonic() - started > _HEALTHY_AFTER_S:
            tries = 0
        log.warning(
            "server_ended",
            name=name,
            status=status,
            last_line=last_severe_line(server.log_tail(_TAIL_LINES)),
            log=str(server.log_path),
        )
        if tries >= _TRIES_MAX:
            raise ServerEndsError(
                f"{name} ended {tries} times within a minute of its start; its log is "
                f"{server.log_path}"
            )
        tries = await _start_again(name, server, tries, pause_s)
        if restarts is not None:
            restarts[name] += 1


async def _start_again(name: str, server: KeptServer, tries: int, pause_s: float) -> int:
    """Start it; return the tries so far."""
    ended = time.monotonic()
    while True:
        tries += 1
        try:
            address = await server.start_again()
        except EmbeddedError as error:
            if tries >= _TRIES_MAX:
                raise
            log.warning("server_not_started", name=name, code=error.code, tries=tries)
            await asyncio.sleep(pause_s * 2 ** (tries - 1))
        else:
            away_s = round(time.monotonic() - ended, 1)
            log.warning("server_started_again", name=name, port=_port(address), away_s=away_s)
            return tries


async def _first(tasks: list[asyncio.Future[None]]) -> None:
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


def _port(address: str) -> str:
    """The port of an address that may hold a password."""
    return address.rsplit(":", 1)[-1].split("/", 1)[0]
