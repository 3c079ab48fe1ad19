"""The system that is observed: its servers, its processes, and what loads it."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx

from orchestrator.local.dev.system import DEV_DEFAULTS, TARGETS, open_system
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from orchestrator.settings import load_settings
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.gen.orchestrator.v1 import orchestrator_pb2_grpc as pb_grpc
from schemas.records import Json, TaskCreated
from tests.e2e.driving import ANY_PORTS, Running, a_database, a_rag_task
from tests.e2e.test_task_types import INPUTS

FAULTS = [
    {"tenant": "failing", "service": "rag_engine", "status": "UNAVAILABLE"},
    {"tenant": "recovering", "service": "rag_engine", "status": "UNAVAILABLE", "times": 2},
    {"tenant": "refused", "service": "retrieval", "status": "INVALID_ARGUMENT"},
    {"tenant": "flooding", "service": "agent_engine", "status": "UNAVAILABLE"},
    {"tenant": "garbled", "service": "rag_engine", "output": "no JSON"},
    {"tenant": "hanging", "service": "retrieval", "hang": True},
    {"tenant": "slow", "delay_s": 3.0},
    {"tenant": "silent", "service": "voice_engine", "status": "UNAVAILABLE"},
    {"tenant": "retrying", "service": "multimodal_engine", "status": "UNAVAILABLE", "times": 8},
    # So often that its pauses grow beyond a scrape.
    {"tenant": "limited", "service": "retrieval", "status": "RESOURCE_EXHAUSTED", "times": 8},
]
_SETTINGS = {
    **ANY_PORTS,
    "ORCH_TOPICS_PARTITIONS": "2",
    # Shorter than in a deployment, so that every state is seen within minutes.
    "ORCH_KAFKA_SESSION_TIMEOUT_S": "6",
    "ORCH_KAFKA_STALL_TIMEOUT_S": "20",
    "ORCH_METRICS_LAG_INTERVAL_S": "2",
    "ORCH_POSTGRES_COUNTS_EVERY_S": "0.5",
    "ORCH_WORKER_SLOTS": "8",
    "ORCH_FLOOD_GUARD_WINDOW": "8",
    "ORCH_FLOOD_GUARD_PROBE_EVERY_S": "8",
    # It would open before a flood guard shuts.
    "ORCH_BREAKER_ERRORS_PERCENT": "100",
    "ORCH_API_LIMITS_TENANT_PRIORITY_MAX": "9",
    "ORCH_DEMO_FAULTS": json.dumps(FAULTS),
}
_OF_ROLES = {
    "step.transcribe": {"ORCH_BREAKER_ERRORS_PERCENT": "10", "ORCH_BREAKER_CALLS_MIN": "4"},
    "step.extract": {"ORCH_RETRY_BUDGET_PERCENT": "0", "ORCH_RETRY_BUDGET_PER_MINUTE_MIN": "1"},
}
"""One whose breaker opens soon, and one whose retries wait soon."""
_PAUSE_S = 0.7
_HELD = 6


@dataclass(slots=True)
class Site:
    """A running system on servers that can be taken away."""

    running: Running
    kafka: EmbeddedKafka
    postgres: EmbeddedPostgres
    http: httpx.AsyncClient
    channel: grpc.aio.Channel
    held: list[TaskCreated]
    """Tasks that wait for an execute since the system's start."""

    @property
    def stub(self) -> Any:
        """The service over gRPC."""
        return pb_grpc.OrchestratorStub(self.channel)

    async def over_http(self, kind: str, **fields: object) -> httpx.Response:
        """Create a task."""
        return await self.http.post("/tasks", json={"type": kind, "input": INPUTS[kind], **fields})

    async def over_grpc(self, kind: str, **fields: object) -> str:
        """Create a task; return its id."""
        request = pb.CreateTaskRequest(type=kind, input=json.dumps(INPUTS[kind]))
        for name, value in fields.items():
            setattr(request, name, value)
        answer = await self.stub.CreateTask(request, timeout=10)
        return str(answer.task.id)

    async def over_kafka(self, kind: str, tenant: str = "acme", count: int = 1) -> None:
        """Create tasks of a tenant."""
        given = Json(json.dumps(INPUTS[kind]))
        tasks = [a_rag_task(tenant, type=kind, input=given) for _ in range(count)]
        await self.running.create(tasks)


@asynccontextmanager
async def open_servers(folder: Path) -> AsyncIterator[tuple[EmbeddedKafka, EmbeddedPostgres]]:
    """Kafka and Postgres of its own."""
    kafka, postgres = EmbeddedKafka(folder / "kafka"), EmbeddedPostgres(folder / "postgres")
    await kafka.start()
    await postgres.start()
    try:
        yield kafka, postgres
    finally:
        await kafka.kill()
        await postgres.stop()


def targets_of(folder: Path) -> Path:
    """The folder of the system's targets."""
    return folder / "logs" / TARGETS


@asynccontextmanager
async def open_site(
    folder: Path, kafka: EmbeddedKafka, postgres: EmbeddedPostgres
) -> AsyncIterator[Site]:
    """A whole system with every role."""
    environment = {
        **_SETTINGS,
        "ORCH_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "ORCH_POSTGRES_DSN": await a_database(postgres.dsn),
        "ORCH_DEMO_CALL_LOG": str(folder / "calls.jsonl"),
    }
    settings = load_settings(environment, DEV_DEFAULTS)
    async with open_system(
        settings,
        environment=environment,
        logs=folder / "logs",
        environment_of=_OF_ROLES,
    ) as system:
        running = Running(system=system, call_log=folder / "calls.jsonl", logs=folder / "logs")
        url = f"http://{system.http_address}/api/v1"
        async with (
            httpx.AsyncClient(base_url=url, trust_env=False, timeout=10) as http,
            grpc.aio.insecure_channel(system.grpc_address) as channel,
        ):
            held = [a_rag_task(hold=True) for _ in range(_HELD)]
            await running.create(held)
            yield Site(running, kafka, postgres, http, channel, held)


@asynccontextmanager
async def load(site: Site) -> AsyncIterator[None]:
    """Tasks of all types over all transports inside the block, whatever is broken meanwhile."""
    running = asyncio.create_task(_load(site))
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _load(site: Site) -> None:
    # Speech costs the most.
    kinds = itertools.cycle(["rag", "chat", "agent", "rag", "multimodal", "rag", "chat", "voice"])
    for number in itertools.count():
        kind = next(kinds)
        try:
            if number % 3 == 0:
                await site.over_kafka(kind)
            elif number % 3 == 1:
                await site.over_grpc(kind)
            else:
                await site.over_http(kind)
        except (grpc.aio.AioRpcError, httpx.HTTPError):
            # The service is being killed; the next task is tried in a moment.
            pass
        await asyncio.sleep(_PAUSE_S)
