"""The checks of `orchestrator doctor` on what is neither Kafka nor Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec

from agents.services.access import field_of
from agents.services.settings import ServicesSettings
from orchestrator.settings import Settings
from schemas.findings import Finding, Severity
from tasks.pipeline import Pipelines

_ANSWER_S = 3.0
_PORTS = {"http": 80, "https": 443}


class _TargetGroup(msgspec.Struct):
    """An element of a target's file, as :mod:`orchestrator.monitoring.target` writes it."""

    targets: list[str]
    labels: dict[str, str]


class _NotReady(msgspec.Struct):
    """The answer of ``/readyz`` of a process that is not ready."""

    parts: dict[str, str]


async def check_services(settings: Settings, pipelines: Pipelines) -> list[Finding]:
    """Find services that accept no connection; only those whose address is set."""
    usual = {item.name: item.default for item in fields(ServicesSettings)}
    used = {field_of(service) for service in pipelines.services.values()}
    addresses = {
        name: address
        for name, address in settings.services.addresses().items()
        if name in used and address != usual.get(name)
    }
    found = await asyncio.gather(*(_service(name, at) for name, at in addresses.items()))
    return [finding for finding in found if finding is not None]


async def _service(name: str, address: str) -> Finding | None:
    parts = urlsplit(address)
    if parts.scheme == "python":
        return None
    try:
        async with asyncio.timeout(_ANSWER_S):
            port = parts.port or _PORTS.get(parts.scheme)
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except (OSError, TimeoutError, ValueError) as error:
        return Finding(
            severity=Severity.WARNING,
            about=name,
            what=f"the service accepts no connection from here ({type(error).__name__})",
            breaks="its step is tried again and again, and then becomes dead letters",
            fix=f"start the service, or set ORCH_SERVICES_{name.upper()} (or ..._EXTRA)",
        )
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return None


async def check_registry(settings: Settings, _pipelines: Pipelines) -> list[Finding]:
    """Find out whether the schema registry answers, if one is set."""
    if not settings.schemas.registry_url:
        return []
    url = settings.schemas.registry_url.rstrip("/")
    try:
        async with httpx.AsyncClient(timeout=_ANSWER_S, trust_env=False) as client:
            (await client.get(f"{url}/schemas/types")).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return [
            Finding(
                severity=Severity.FATAL,
                about="registry",
                what=f"the schema registry gives no good answer ({type(error).__name__})",
                breaks="no process starts; those that run go on",
                fix="start the registry, or set ORCH_SCHEMAS_REGISTRY_URL",
            )
        ]
    return []


async def check_processes(settings: Settings, _pipelines: Pipelines) -> list[Finding]:
    """Ask each process whose address is in the folder of targets whether it is ready."""
    folder = settings.metrics.targets_dir
    if folder is None:
        return []
    async with httpx.AsyncClient(timeout=_ANSWER_S, trust_env=False) as client:
        found = await asyncio.gather(*(_process(client, *one) for one in _targets(folder)))
    return [finding for finding in found if finding is not None]


def _targets(folder: Path) -> Iterator[tuple[str, str]]:
    """The processes and their addresses; a file that is just being replaced is left out."""
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, ValueError, LookupError):
            [group] = msgspec.json.decode(path.read_bytes(), type=list[_TargetGroup])
            yield group.labels["process"], group.targets[0]


async def _process(client: httpx.AsyncClient, name: str, address: str) -> Finding | None:
    try:
        answer = await client.get(f"http://{address}/readyz")
        if answer.status_code == httpx.codes.OK:
            return None
        parts = msgspec.json.decode(answer.content, type=_NotReady).parts
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return Finding(
            severity=Severity.WARNING,
            about=name,
            what=f"not ready: it does not answer at {address} ({type(error).__name__})",
            breaks="what this process does waits, unless another process does it",
            fix="start the process again; if it is gone for good, remove its file from "
            "ORCH_METRICS_TARGETS_DIR",
        )
    return Finding(
        severity=Severity.WARNING,
        about=name,
        what="not ready: " + "; ".join(f"{part}: {why}" for part, why in parts.items()),
        breaks="what this process does waits",
        fix="see its log, which names the same reason",
    )
