"""The state of a system: what runs, what answers, and how far groups are behind. Changes nothing.

Every wait is bounded by the caller's timeout; all servers are asked at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import httpx
from msgspec import Struct

from orchestrator.layout import consumer_groups
from orchestrator.monitoring.target import ProcessTarget, read_targets
from orchestrator.pipelines import installed_pipelines
from orchestrator.running.address import dsn_address
from orchestrator.running.file import process_identity
from orchestrator.running.record import ProcessRecord, RunningSystem, ServerRecord
from orchestrator.settings import Settings
from schemas.errors import OrchestratorError
from sinks.server.check import server_version
from streams.kafka.admin import Admin
from streams.kafka.group_reading import group_positions
from streams.kafka.log_reader import LogReader
from streams.kafka.positions import lag_by_topic

SERVE = "serve"


class PartStatus(Struct, frozen=True, kw_only=True):
    """A server, or a process of the system."""

    name: str
    address: str | None
    """None: it does not listen."""
    pid: int | None
    ports: tuple[int, ...]
    log: str | None
    restarts: int | None
    """How often ``orchestrator dev`` started it again; None: ``dev`` does not run it."""
    version: str | None
    answers: bool
    """True also for a process that does not listen but runs."""
    took_ms: int | None
    """How long the answer took; None if the part was not asked."""
    problem: str | None


class GroupLag(Struct, frozen=True, kw_only=True):
    """A consumer group and the records that it has not read yet."""

    group: str
    lag: int
    topics: dict[str, int]
    members: int
    """Processes in the group; a process that hangs leaves it when its session ends."""


class SystemStatus(Struct, frozen=True, kw_only=True):
    """All of it."""

    pid: int | None
    """The pid of ``orchestrator dev``; None: the servers come from variables."""
    started_at: str | None
    folder: str | None
    servers: tuple[PartStatus, ...]
    processes: tuple[PartStatus, ...]
    lag: tuple[GroupLag, ...] | None
    """None: Kafka did not answer."""

    @property
    def good(self) -> bool:
        """Whether everything runs and answers."""
        parts = (*self.servers, *self.processes)
        return all(part.answers for part in parts) and self.lag is not None


async def ask_status(
    settings: Settings, system: RunningSystem | None, *, timeout_s: float
) -> SystemStatus:
    """Ask the servers of the settings, and look at the processes of the system.

    Never raises if a server does not answer: the result shows it.
    """
    kafka, postgres, processes, lag = await asyncio.gather(
        _kafka(settings, system, timeout_s),
        _postgres(settings, system, timeout_s),
        _processes(settings, system, timeout_s),
        _lag(settings, timeout_s),
    )
    return SystemStatus(
        pid=None if system is None else system.pid,
        started_at=None if system is None else system.started_at,
        folder=None if system is None else system.folder,
        servers=(kafka, postgres),
        processes=processes,
        lag=lag,
    )


async def _kafka(settings: Settings, system: RunningSystem | None, timeout_s: float) -> PartStatus:
    async def connect() -> str | None:
        async with Admin(settings.kafka):
            return None

    return await _server("kafka", settings.kafka.bootstrap, system, connect, timeout_s)


async def _postgres(
    settings: Settings, system: RunningSystem | None, timeout_s: float
) -> PartStatus:
    dsn = settings.postgres.dsn

    async def version() -> str | None:
        bounded = replace(settings.postgres, connect_timeout_s=timeout_s)
        return await server_version(bounded)

    return await _server("postgres", dsn_address(dsn) if dsn else "", system, version, timeout_s)


async def _server(
    name: str,
    address: str,
    system: RunningSystem | None,
    ask: Callable[[], Awaitable[str | None]],
    timeout_s: float,
) -> PartStatus:
    """Ask a server for its version, which it may not return."""
    known = _record(name, address, system)
    version, took_ms, problem = None, None, "its address is not set"
    if address:
        version, took_ms, problem = await _asked(ask, timeout_s)
    return PartStatus(
        name=name,
        address=address or None,
        pid=known.pid,
        ports=tuple(_ports(address)),
        log=known.log,
        restarts=known.restarts,
        version=version or known.version,
        answers=not problem,
        took_ms=took_ms,
        problem=problem or None,
    )


def _record(name: str, address: str, system: RunningSystem | None) -> ServerRecord:
    """The recorded facts about the server; empty for a server at another address."""
    servers = () if system is None else system.servers
    found = [one for one in servers if one.name == name and one.address == address]
    return found[0] if found else ServerRecord(name=name, address=address)


async def _processes(
    settings: Settings, system: RunningSystem | None, timeout_s: float
) -> tuple[PartStatus, ...]:
    """Those of ``orchestrator dev``, or those that wrote their addresses into the folder."""
    if system is None:
        folder = settings.metrics.targets_dir
        targets = () if folder is None else read_targets(folder)
        return tuple(await asyncio.gather(*(_target(one, timeout_s) for one in targets)))
    return tuple(
        await asyncio.gather(*(_process(one, system, timeout_s) for one in system.processes))
    )


async def _process(process: ProcessRecord, system: RunningSystem, timeout_s: float) -> PartStatus:
    runs = process.pid is not None and process_identity(process.pid) is not None
    took_ms, problem = None, "" if runs else "its process has ended"
    monitored = _monitored(system).get(process.name)
    if runs and process.name == SERVE:
        _, took_ms, problem = await _asked(lambda: _good(f"{system.http}/readyz"), timeout_s)
    elif runs and monitored is not None:
        url = f"http://{monitored}/healthz"
        _, took_ms, problem = await _asked(lambda: _good(url), timeout_s)
    return PartStatus(
        name=process.name,
        address=system.http if process.name == SERVE else None,
        pid=process.pid,
        ports=process.ports,
        log=process.log,
        restarts=process.restarts,
        version=None,
        answers=not problem,
        took_ms=took_ms,
        problem=problem or None,
    )


async def _target(target: ProcessTarget, timeout_s: float) -> PartStatus:
    url = f"http://{target.address}/healthz"
    _, took_ms, problem = await _asked(lambda: _good(url), timeout_s)
    return PartStatus(
        name=target.process,
        address=target.address,
        pid=target.pid,
        ports=tuple(_ports(target.address)),
        log=None,
        restarts=None,
        version=None,
        answers=not problem,
        took_ms=took_ms,
        problem=problem or None,
    )


def _monitored(system: RunningSystem) -> dict[str, str]:
    """The address of the health of each process, as far as it is known."""
    folder = system.variables.get("ORCH_METRICS_TARGETS_DIR")
    targets = read_targets(Path(folder)) if folder else ()
    return {one.process: one.address for one in targets}


async def _good(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        (await client.get(url)).raise_for_status()


async def _asked(
    ask: Callable[[], Awaitable[str | None]], timeout_s: float
) -> tuple[str | None, int | None, str]:
    """The answer, its duration in milliseconds, and the error if no answer came."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            answer = await ask()
    except TimeoutError:
        return None, None, f"no answer in {timeout_s:g} s"
    except OrchestratorError as error:
        return None, None, f"{error.code}: {error}"
    except (httpx.HTTPError, ValueError) as error:
        # A ValueError's message may quote the address, with its password.
        return None, None, type(error).__name__
    return answer, round((time.monotonic() - began) * 1000), ""


async def _lag(settings: Settings, timeout_s: float) -> tuple[GroupLag, ...] | None:
    if not settings.kafka.bootstrap:
        return None
    try:
        async with asyncio.timeout(timeout_s):
            return await _lag_of_groups(settings)
    except (TimeoutError, OrchestratorError):
        return None


async def _lag_of_groups(settings: Settings) -> tuple[GroupLag, ...]:
    groups = consumer_groups(settings, installed_pipelines(settings.pipelines))
    client_id = f"{settings.kafka.client_id}-status"
    found = []
    async with (
        LogReader(settings.kafka, client_id=client_id, committed=False) as reader,
        Admin(settings.kafka) as admin,
    ):
        members = await admin.members(list(groups))
        async for group, committed, bounds in group_positions(reader, admin, groups):
            topics = lag_by_topic(committed, bounds)
            lag = sum(topics.values())
            found.append(GroupLag(group=group, lag=lag, topics=topics, members=members[group]))
    return tuple(found)


def _ports(address: str) -> list[int]:
    ends = (host.rpartition(":")[2] for host in address.split(","))
    return [int(end) for end in ends if end.isdigit()]
