"""The checks of `orchestrator doctor` on what is neither Kafka nor Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from urllib.parse import urlsplit

import httpx
import msgspec

from agents.services.access import field_of
from agents.services.discovery.address import is_shared, parse_shared
from agents.services.models.address import base_of
from agents.services.settings import ServicesSettings
from orchestrator.monitoring.target import read_targets
from orchestrator.settings import Settings
from schemas.findings import Finding, Severity
from tasks.pipeline import Pipelines

_ANSWER_S = 3.0
_BODY_MAX = 65_536
_NOT_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_NO_ANSWER = (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, *_NOT_JSON)
_PORTS = {"http": 80, "https": 443}
_STEP_BREAKS = "its step is tried again and again, and then becomes dead letters"


async def check_services(settings: Settings, pipelines: Pipelines) -> list[Finding]:
    """Find services of any step that accept no connection, also at an address that is a default.

    A step worker uses the default of a service whose address nobody set.
    """
    usual = {item.name: item.default for item in fields(ServicesSettings)}
    used = {field_of(service) for service in pipelines.called_services}
    addresses = {
        name: address for name, address in settings.services.addresses().items() if name in used
    }
    refused = await asyncio.gather(*map(_refusal, addresses.values()))
    away = {name: why for name, why in zip(addresses, refused, strict=True) if why is not None}
    unset = {name: addresses[name] for name in away if addresses[name] == usual.get(name)}
    found = [_away(name, why) for name, why in away.items() if name not in unset]
    return [*found, _at_defaults(unset)] if unset else found


def _away(name: str, why: str) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        about=name,
        what=f"the service accepts no connection from here ({why})",
        breaks=_STEP_BREAKS,
        fix=f"start the service, or set ORCH_SERVICES_{name.upper()} (or ..._EXTRA)",
    )


def _at_defaults(unset: Mapping[str, str]) -> Finding:
    """One finding for all: a system that uses two services would otherwise have three of them."""
    return Finding(
        severity=Severity.WARNING,
        about="services",
        what="no connection from here at the default of "
        + ", ".join(f"{name} ({address})" for name, address in unset.items()),
        breaks=_STEP_BREAKS,
        fix="set " + ", ".join(f"ORCH_SERVICES_{name.upper()}" for name in unset) + ", or start "
        "what listens there; harmless while no task needs these services",
    )


async def _refusal(address: str) -> str | None:
    """Why an address accepts no connection; None: it does, or is a function."""
    if address.startswith("python:"):
        return None
    address = base_of(address)
    if is_shared(address):
        return await _refusal_of_all(address)
    try:
        parts = urlsplit(address)
        async with asyncio.timeout(_ANSWER_S):
            port = parts.port or _PORTS.get(parts.scheme)
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except (OSError, TimeoutError, ValueError) as error:
        return type(error).__name__
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return None


async def _refusal_of_all(address: str) -> str | None:
    """None if one of several endpoints accepts a connection: its service can be called."""
    try:
        shared = parse_shared(address)
    except ValueError as error:
        return str(error)
    if not shared.hosts:
        return None  # only the registry knows
    refused = await asyncio.gather(*(_refusal(f"tcp://{one.authority}") for one in shared.hosts))
    return None if None in refused else ", ".join(sorted({why for why in refused if why}))


async def check_registry(settings: Settings, _pipelines: Pipelines) -> list[Finding]:
    """Find out whether the schema registry answers, if one is set."""
    if not settings.schemas.registry_url:
        return []
    url = settings.schemas.registry_url.rstrip("/")
    try:
        async with httpx.AsyncClient(timeout=_ANSWER_S, trust_env=False) as client:
            status, _ = await _answer(client, f"{url}/schemas/types")
        if status != httpx.codes.OK:
            raise ValueError(status)
    except _NO_ANSWER as error:
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
    targets = [] if folder is None else list(read_targets(folder))
    if not targets:
        where = f"no process is in {folder}" if folder else "ORCH_METRICS_TARGETS_DIR is not set"
        return [_not_asked(where)]
    async with httpx.AsyncClient(timeout=_ANSWER_S, trust_env=False) as client:
        found = await asyncio.gather(
            *(_process(client, one.process, one.address) for one in targets)
        )
    return [finding for finding in found if finding is not None]


def _not_asked(where: str) -> Finding:
    return Finding(
        severity=Severity.INFO,
        about="processes",
        what=f"no process was asked whether it is ready: {where}",
        breaks="nothing by itself; a process that hangs shows as a group without a process",
        fix="set ORCH_METRICS_TARGETS_DIR to one folder in every process of this machine; "
        "elsewhere ask /readyz of each process",
    )


class _NotReady(msgspec.Struct):
    parts: dict[str, str] = {}


async def _process(client: httpx.AsyncClient, name: str, address: str) -> Finding | None:
    try:
        status, body = await _answer(client, f"http://{address}/readyz")
        if status == httpx.codes.OK:
            return None
        problems = msgspec.json.decode(body, type=_NotReady).parts
        problems = problems or {"process": f"{address} answers with {status}"}
    except _NO_ANSWER as error:
        return Finding(
            severity=Severity.WARNING,
            about=name,
            what=f"not ready: process: it does not answer at {address} ({type(error).__name__})",
            breaks="what this process does waits, unless another process does it",
            fix="if it runs, end it with kill -9 (`orchestrator status` has its pid) and start it; "
            "if it is gone for good, remove its file from ORCH_METRICS_TARGETS_DIR",
        )
    return Finding(
        severity=Severity.WARNING,
        about=name,
        what="not ready: " + "; ".join(f"{part}: {why}" for part, why in problems.items()),
        breaks="what this process does waits",
        fix="see its log, which names the same reason",
    )


async def _answer(client: httpx.AsyncClient, url: str) -> tuple[int, bytes]:
    """The status and the body; of a long body only the beginning.

    The address may by now be that of another program, which answers as it likes.
    """
    body = b""
    async with asyncio.timeout(_ANSWER_S), client.stream("GET", url) as answer:
        async for part in answer.aiter_raw():
            body += part
            if len(body) > _BODY_MAX:
                break
        return answer.status_code, body
