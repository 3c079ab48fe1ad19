"""Keeps ``running.json`` up to date: other terminals find the system's servers by it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import structlog

from orchestrator.local.dev.server_keeper import Restarts
from orchestrator.local.dev.system import DEMO_SERVICES, SERVE, System
from orchestrator.local.embedded.jars import KAFKA_VERSION
from orchestrator.local.embedded.process import Process
from orchestrator.local.embedded.servers import Servers
from orchestrator.running.address import dsn_address
from orchestrator.running.file import FILE, process_identity, remove_running, write_running
from orchestrator.running.record import (
    API,
    ProcessRecord,
    RunningSystem,
    ServerRecord,
    shared_variables,
)
from schemas.errors import SettingsError

log = structlog.get_logger()

_POLL_S = 0.5


@asynccontextmanager
async def kept_record(
    system: System, servers: Servers, folder: Path, restarts: Restarts
) -> AsyncIterator[None]:
    """Write the file, write it again when a process is started anew, and remove it at the end.

    Raises:
        SettingsError: the file cannot be written; the message says why.
    """
    started_at = datetime.now().astimezone()

    def current() -> RunningSystem:
        return record_of(system, servers, folder, started_at, restarts)

    record = current()
    try:
        write_running(folder, record)
    except OSError as error:
        message = f"{folder / FILE} cannot be written: {error.strerror}"
        raise SettingsError(message) from error
    keeping = asyncio.create_task(_keep(current, folder, record))
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        remove_running(folder, os.getpid())


def record_of(
    system: System, servers: Servers, folder: Path, started_at: datetime, restarts: Restarts
) -> RunningSystem:
    """The current content of the file."""
    return RunningSystem(
        pid=os.getpid(),
        identity=process_identity(os.getpid()) or "",
        started_at=started_at.isoformat(timespec="seconds"),
        folder=str(folder),
        http=f"http://{system.http_address}",
        variables=shared_variables(system.environment) | {API: system.grpc_address},
        servers=_servers(servers, restarts),
        processes=tuple(
            _process(child, system.supervisor.restarts[name], system.environment)
            for name, child in system.supervisor.children.items()
        ),
    )


async def _keep(current: Callable[[], RunningSystem], folder: Path, written: RunningSystem) -> None:
    while True:
        await asyncio.sleep(_POLL_S)
        record = current()
        if record == written:
            continue
        try:
            write_running(folder, record)
        except OSError as error:
            # The old file still has every address, but a pid that has ended.
            log.warning("running_not_written", reason=str(error))
        written = record


def _servers(servers: Servers, restarts: Restarts) -> tuple[ServerRecord, ...]:
    kafka, postgres = servers.kafka, servers.postgres
    return (
        ServerRecord(
            name="kafka",
            address=servers.kafka_bootstrap,
            pid=kafka.pid if kafka else None,
            restarts=restarts["kafka"] if kafka else None,
            version=KAFKA_VERSION if kafka else None,
            log=str(kafka.log_path) if kafka else None,
        ),
        ServerRecord(
            name="postgres",
            address=dsn_address(servers.postgres_dsn),
            pid=postgres.pid if postgres else None,
            restarts=restarts["postgres"] if postgres else None,
            log=str(postgres.log_path) if postgres else None,
        ),
    )


def _process(child: Process, restarts: int, environment: Mapping[str, str]) -> ProcessRecord:
    return ProcessRecord(
        name=child.name,
        pid=child.pid if child.returncode is None else None,
        restarts=restarts,
        log=str(child.log_path),
        ports=tuple(
            int(value)
            for name, value in sorted(environment.items())
            if name.endswith("_PORT") and name.startswith(_PORT_PREFIXES.get(child.name, "-"))
        ),
    )


_PORT_PREFIXES = {DEMO_SERVICES: "ORCH_DEMO_", SERVE: "ORCH_API_"}
