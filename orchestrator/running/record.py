"""The record that ``orchestrator dev`` writes for other processes of its user. Pure."""

import re
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlsplit

from msgspec import Struct

KAFKA = "ORCH_KAFKA_BOOTSTRAP"
POSTGRES = "ORCH_POSTGRES_DSN"
API = "ORCH_API_SERVER"

_VARIABLE = re.compile(r"ORCH_[A-Z0-9_]{1,100}")
_LOOPBACK = re.compile(r"\b(localhost|\[::1\])(?=:)")
_ADDRESSES = (KAFKA, POSTGRES, API)
_OWN_PREFIXES = (
    "ORCH_DEMO_",
    "ORCH_DEV_",
    "ORCH_EMBEDDED_",
    "ORCH_LOG_",
    "ORCH_METRICS_",
)
_TARGETS = "ORCH_METRICS_TARGETS_DIR"
_OWN = frozenset(
    {"ORCH_API_DRAIN_S", "ORCH_API_GRPC_PORT", "ORCH_API_HTTP_PORT", "ORCH_KAFKA_INSTANCE_ID"}
)


class ServerRecord(Struct, frozen=True, kw_only=True):
    """A Kafka or a Postgres of the system."""

    name: str
    address: str
    """``HOST:PORT``, never with a password; several brokers are separated by commas."""
    pid: int | None = None
    """None: the server is not a child of ``orchestrator dev``."""
    version: str | None = None
    """The version that ``orchestrator dev`` started; None: not known."""
    restarts: int | None = None
    """How often ``orchestrator dev`` started it again; None: it is not a child of it."""
    log: str | None = None


class ProcessRecord(Struct, frozen=True, kw_only=True):
    """A process of the system: a role, the service, or the reference services."""

    name: str
    pid: int | None
    """None: it does not run at present."""
    restarts: int
    log: str
    ports: tuple[int, ...] = ()


class RunningSystem(Struct, frozen=True, kw_only=True):
    """The content of ``running.json``."""

    pid: int
    """The pid of ``orchestrator dev``."""
    identity: str
    """Distinguishes the process from a later one with the same pid; see ``process_identity``."""
    started_at: str
    """ISO 8601 with an offset."""
    folder: str
    """The data folder, absolute."""
    http: str
    """The URL of the service over HTTP."""
    variables: dict[str, str]
    """The ``ORCH_*`` variables that a command needs to work on this system. Holds a password."""
    servers: tuple[ServerRecord, ...] = ()
    processes: tuple[ProcessRecord, ...] = ()


def problem_of(system: RunningSystem) -> str | None:
    """Why a record that decodes is not one that ``orchestrator dev`` wrote; None: it may be one."""
    texts = (system.folder, system.started_at, system.http, *system.variables.values())
    if not all(text.isprintable() for text in texts):
        return "it holds control characters"
    if not all(_VARIABLE.fullmatch(name) for name in system.variables):
        return "it names variables that are not settings"
    try:
        datetime.fromisoformat(system.started_at)
        address = urlsplit(system.http)
        usable = address.scheme == "http" and bool(address.hostname) and bool(address.port)
    except ValueError:
        return "a time or an address in it is wrong"
    return None if usable and system.folder.startswith("/") else "an address or a path is wrong"


def shared_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The ``ORCH_*`` variables of a system that other processes need to work on it.

    Variables of a single process are left out: its ports, its logs, its name in its group.
    """
    return {
        name: value
        for name, value in sorted(environment.items())
        if name.startswith("ORCH_") and not _is_own(name)
    }


def _is_own(name: str) -> bool:
    return name in _OWN or (name.startswith(_OWN_PREFIXES) and name != _TARGETS)


def names_another(environment: Mapping[str, str], system: RunningSystem) -> bool:
    """Whether the environment names a server other than the system's."""
    return any(
        environment.get(name)
        and _LOOPBACK.sub("127.0.0.1", environment[name])
        != _LOOPBACK.sub("127.0.0.1", system.variables.get(name, ""))
        for name in _ADDRESSES
    )


def found_variables(environment: Mapping[str, str], system: RunningSystem) -> dict[str, str]:
    """The variables of a running system that a command takes in addition to its own.

    A variable of the environment always takes precedence. If the environment names a server other
    than the system's, nothing is taken: a command never works on the servers of two systems.
    """
    if names_another(environment, system):
        return {}
    missing = {n: v for n, v in system.variables.items() if n not in environment}
    if "ORCH_API_GRPC_PORT" in environment:
        # The variable names the service on this machine, as ORCH_API_SERVER does.
        missing.pop(API, None)
    return missing
