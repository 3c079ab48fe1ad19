"""All roles and the reference services, as processes, on servers that run already."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.api.settings import ApiSettings
from orchestrator.layout import ALL, DLQ_INDEX, ROUTER, STEP_PREFIX, roles, topic_table
from orchestrator.local.dev.fork import Fork
from orchestrator.local.dev.supervisor import Supervisor
from orchestrator.local.embedded.ports import free_ports, is_free
from orchestrator.local.embedded.process import Process
from orchestrator.local.embedded.progress import Progress, say_nothing
from orchestrator.pipelines import installed_pipelines
from orchestrator.settings import Settings
from sinks.schema.migrate import migrate_up
from streams.kafka.admin import Admin
from streams.schema_registry import register_schemas
from tasks.pipeline import Pipelines

DEMO_SERVICES = "demo-services"
SERVE = "serve"
_GRPC_PORT, _HTTP_PORT = "ORCH_API_GRPC_PORT", "ORCH_API_HTTP_PORT"

TARGETS = "targets"
"""The folder of Prometheus' targets, beside the logs: one file for each process."""

DEV_DEFAULTS = {
    # One broker, few cores.
    "ORCH_TOPICS_PARTITIONS": "4",
    "ORCH_TOPICS_REPLICATION_FACTOR": "1",
    # No load balancer runs here.
    "ORCH_API_DRAIN_S": "0",
}
"""The values of ``dev`` for variables that are not set."""


@dataclass(frozen=True, slots=True)
class System:
    """A running system."""

    settings: Settings
    supervisor: Supervisor
    environment: Mapping[str, str]
    """The ``ORCH_*`` variables that its processes run with."""
    logs: Path
    """The folder with one log file for each process."""

    @property
    def grpc_address(self) -> str:
        """The address of the service over gRPC."""
        return f"127.0.0.1:{self.environment[_GRPC_PORT]}"

    @property
    def http_address(self) -> str:
        """The address of the service over HTTP."""
        return f"127.0.0.1:{self.environment[_HTTP_PORT]}"

    @property
    def targets(self) -> Path:
        """The folder in which each process writes where its metrics and its health are."""
        return self.logs / TARGETS

    def child(self, name: str) -> Process:
        """A process: that of a role, or ``<role>.2`` and so on for its further replicas."""
        return self.supervisor.children[name]

    def replicas(self, role: str) -> list[str]:
        """The names of a role's processes, also of those that are stopped."""
        return [name for name in self.supervisor.children if _role_of(name) == role]

    def add_replica(self, role: str) -> str:
        """Start a further process of a role; return its name."""
        name = _replica(role, len(self.replicas(role)) + 1)
        self.supervisor.add(_worker(name, self.environment, self.logs))
        return name

    async def take_pipelines(self, pipelines: Pipelines) -> None:
        """Give changed pipelines to the processes, which find them in their folder.

        Creates topics, starts workers of new steps, ends those of steps that are gone, and starts
        the others again. Calls in flight end first, as at every end of a worker.

        Raises:
            OrchestratorError: topics cannot be created; no process was started again.
            TimeoutError: a process could not be started.
        """
        await _apply_topics(self.settings, pipelines)
        wanted, supervisor = roles(pipelines), self.supervisor
        running = [name for name in supervisor.children if name == SERVE or _is_worker(name)]
        async with asyncio.TaskGroup() as changing:
            for name in running:
                kept = name == SERVE or _role_of(name) in wanted
                changing.create_task(supervisor.restart(name) if kept else supervisor.stop(name))
        for role in wanted:
            if role not in supervisor.children:
                supervisor.add(_worker(role, self.environment, self.logs))


@asynccontextmanager
async def open_system(
    settings: Settings,
    *,
    environment: Mapping[str, str],
    logs: Path,
    environment_of: Mapping[str, Mapping[str, str]] | None = None,
    replicas: Mapping[str, int] | None = None,
    together: bool = False,
    further: Callable[[Mapping[str, str]], Sequence[Process]] = lambda _: (),
    progress: Progress = say_nothing,
) -> AsyncIterator[System]:
    """Create topics and tables, start every role, and stop them all at the end.

    Args:
        settings: with the addresses of Kafka and Postgres.
        environment: further ``ORCH_*`` variables for the processes.
        environment_of: variables for the processes of one role, or of ``serve``.
        logs: the folder for one log file per process.
        replicas: how many processes a role has; 1 where it says nothing.
        together: all roles share one process, ``all``.
        further: makes processes to run beside, from their environment.
        progress: called when topics and tables are there, and when the processes are started.
    """
    started = time.monotonic()
    pipelines = installed_pipelines(settings.pipelines)
    await _apply_topics(settings, pipelines)
    await migrate_up(settings.postgres.dsn)
    progress(f"Topics and tables are ready after {time.monotonic() - started:.1f} s")
    variables = {
        **DEV_DEFAULTS,
        **{name: value for name, value in os.environ.items() if name.startswith("ORCH_")},
        "ORCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
        "ORCH_POSTGRES_DSN": settings.postgres.dsn,
        # Its processes are given every address.
        "ORCH_DEV_FIND": "false",
        "ORCH_METRICS_TARGETS_DIR": str(_emptied(logs / TARGETS)),
        **_service_addresses(),
        **environment,
    }
    variables |= _api_ports(settings.api, variables)
    counts = replicas or {}
    names = [
        _replica(role, number)
        for role in ([ALL] if together else roles(pipelines))
        for number in range(1, counts.get(role, 1) + 1)
    ]
    own = environment_of or {}
    children: list[Process] = [
        _child([DEMO_SERVICES], DEMO_SERVICES, variables, logs),
        *(_worker(name, variables | dict(own.get(_role_of(name), {})), logs) for name in names),
        _child(["serve"], SERVE, variables | dict(own.get(SERVE, {})), logs),
        *further({**os.environ, **variables}),
    ]
    async with Supervisor(children) as supervisor:
        progress(f"Started {len(children)} processes: {', '.join(c.name for c in children)}")
        yield System(settings, supervisor, variables, logs)


async def _apply_topics(settings: Settings, pipelines: Pipelines) -> None:
    async with Admin(settings.kafka) as admin:
        topics = await admin.on_cluster(settings.topics)
        table = topic_table(settings, pipelines, topics)
        await admin.apply(table, topics)
    await register_schemas(settings.schemas, table)


def _emptied(targets: Path) -> Path:
    """The folder of targets, without those of processes that were killed earlier."""
    for old in targets.glob("*.json"):
        old.unlink(missing_ok=True)
    return targets


def _replica(role: str, number: int) -> str:
    return role if number == 1 else f"{role}.{number}"


def _is_worker(name: str) -> bool:
    # The sink knows no pipeline: rows go on being written.
    return _role_of(name) in (ROUTER, DLQ_INDEX, ALL) or name.startswith(STEP_PREFIX)


def _role_of(name: str) -> str:
    role, _, number = name.rpartition(".")
    return role if number.isdecimal() else name


def _worker(name: str, variables: Mapping[str, str], logs: Path) -> Fork:
    # Its own name in its group: a restart is the same member, and moves no partition.
    variables = {**variables, "ORCH_KAFKA_INSTANCE_ID": name}
    return _child(["worker", _role_of(name)], name, variables, logs)


def _child(arguments: list[str], name: str, variables: Mapping[str, str], logs: Path) -> Fork:
    variables = {"ORCH_METRICS_NAME": name, **variables}
    return Fork(name, arguments, env={**os.environ, **variables}, log_path=logs / f"{name}.log")


def _service_addresses() -> dict[str, str]:
    """Free ports for the reference services, as variables for them and for the workers."""
    addresses = {}
    services = ("RETRIEVAL", "RAG_ENGINE", "AGENT_ENGINE", "VOICE_ENGINE", "MULTIMODAL_ENGINE")
    for service, port in zip(services, free_ports(len(services)), strict=True):
        addresses[f"ORCH_DEMO_{service}_PORT"] = str(port)
        addresses[f"ORCH_SERVICES_{service}"] = f"grpc://127.0.0.1:{port}"
    return addresses


def _api_ports(settings: ApiSettings, variables: Mapping[str, str]) -> dict[str, str]:
    """The usual ports if they are free, otherwise free ones; a port that is set above 0 stays."""
    wanted = {_GRPC_PORT: settings.grpc_port, _HTTP_PORT: settings.http_port}
    others = iter(free_ports(len(wanted)))
    return {
        name: kept
        if (kept := variables.get(name, "0")) != "0"
        else str(port if is_free(port) else next(others))
        for name, port in wanted.items()
    }
