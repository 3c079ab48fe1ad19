"""The servers of one repetition: fresh data, on free ports of 127.0.0.1, gone afterwards."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.peers.environments import redis_server, restate_server, temporal_server
from orchestrator.local.embedded.ports import choose_ports
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from orchestrator.local.embedded.process import Child

_START_S = 30.0
_POLL_S = 0.1
REDIS_SETTINGS = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
}
"""Each write is in the kernel before it is answered, and on the disk within a second or two."""
RESTATE_SETTINGS = {"RESTATE_LOG_FILTER": "warn", "RESTATE_DISABLE_TELEMETRY": "true"}
TEMPORAL_SETTINGS = {"TEMPORAL_VERSION_CHECK_DISABLED": "1"}
"""It asks nobody for newer versions."""


@dataclass(frozen=True, slots=True)
class Server:
    """One that runs."""

    pid: int
    environment: Mapping[str, str]
    """What a peer's program has to know of it."""


@asynccontextmanager
async def postgres(folder: Path, settings: Mapping[str, Any]) -> AsyncIterator[Server]:
    """The same server with the same settings that the orchestrator has; it waits for its disk."""
    server = EmbeddedPostgres(folder / "postgres")
    dsn = await server.start()
    try:
        yield Server(server.pid or 0, {"PEER_DSN": dsn})
    finally:
        await server.stop()


@asynccontextmanager
async def redis(folder: Path, settings: Mapping[str, Any]) -> AsyncIterator[Server]:
    """Redis with an append-only file."""
    port = choose_ports(folder / "redis.json", {"redis": 0})["redis"]
    flags = [text for name, value in REDIS_SETTINGS.items() for text in (f"--{name}", value)]
    places = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    child = Child("redis", [redis_server(), *places, *flags], env={}, log_path=folder / "redis.log")
    child.start()
    try:
        await _until_connected(port, child)
        yield Server(child.pid or 0, {"PEER_REDIS": f"127.0.0.1:{port}"})
    finally:
        await child.stop(5.0)


@asynccontextmanager
async def restate(folder: Path, settings: Mapping[str, Any]) -> AsyncIterator[Server]:
    """One node of Restate, its log and its store in files; ``server`` are variables for it."""
    names = ("fabric", "ingress", "admin", "service")
    ports = choose_ports(folder / "restate.json", dict.fromkeys(names, 0))
    places = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    environment = {
        **os.environ,
        **RESTATE_SETTINGS,
        **settings.get("server", {}),
        "RESTATE_BASE_DIR": str(folder / "restate"),
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_ADDRESS": places["fabric"],
        "RESTATE_INGRESS__BIND_ADDRESS": places["ingress"],
        "RESTATE_ADMIN__BIND_ADDRESS": places["admin"],
    }
    binary = restate_server()
    assert binary is not None
    child = Child(
        "restate", [binary, "--no-logo"], env=environment, log_path=folder / "restate.log"
    )
    child.start()
    try:
        await _until_healthy(f"http://{places['admin']}/health", child)
        await _until_healthy(f"http://{places['ingress']}/restate/health", child)
        yield Server(
            child.pid or 0,
            {f"PEER_{name.upper()}": place for name, place in places.items()},
        )
    finally:
        await child.stop(10.0)


@asynccontextmanager
async def temporal(folder: Path, settings: Mapping[str, Any]) -> AsyncIterator[Server]:
    """All services of Temporal in one process, on a file; ``server`` are flags for it."""
    names = ("frontend", "http", "metrics")
    ports = choose_ports(folder / "temporal.json", dict.fromkeys(names, 0))
    flags = ["--headless", "--ip", "127.0.0.1", "--port", str(ports["frontend"])]
    flags += ["--http-port", str(ports["http"]), "--metrics-port", str(ports["metrics"])]
    flags += ["--db-filename", str(folder / "temporal.db"), *settings["server"]]
    child = Child(
        "temporal",
        [temporal_server(), "server", "start-dev", *flags],
        env=TEMPORAL_SETTINGS,
        log_path=folder / "temporal.log",
    )
    child.start()
    try:
        await _until_connected(ports["frontend"], child)
        yield Server(child.pid or 0, {"PEER_TEMPORAL": f"127.0.0.1:{ports['frontend']}"})
    finally:
        await child.stop(10.0)


SERVERS = {"postgres": postgres, "redis": redis, "restate": restate, "temporal": temporal}


async def _until_connected(port: int, child: Child) -> None:
    async with asyncio.timeout(_START_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                _still_runs(child)
                await asyncio.sleep(_POLL_S)
            else:
                writer.close()
                return


async def _until_healthy(url: str, child: Child) -> None:
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(_START_S):
        while True:
            try:
                if (await client.get(url)).is_success:
                    return
            except httpx.TransportError:
                _still_runs(child)
            await asyncio.sleep(_POLL_S)


def _still_runs(child: Child) -> None:
    if child.returncode is not None:
        raise SystemExit(f"{child.name} ended with {child.returncode}:\n{child.log_tail()}")
