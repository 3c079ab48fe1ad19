"""A system whose faults come soon: few slots, short timeouts, flood guards that shut early."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from orchestrator.local.dev.system import DEV_DEFAULTS, open_system
from orchestrator.settings import load_settings
from tests.e2e.driving import ANY_PORTS, WAIT_S, Running, a_database

FAULTS = [
    {"tenant": "hanging", "service": "retrieval", "hang": True},
    {"tenant": "away", "service": "retrieval", "status": "UNAVAILABLE", "retry_after_ms": 50_000},
    {"tenant": "garbled", "service": "rag_engine", "output": "no JSON"},
    {"tenant": "flooding", "service": "rag_engine", "status": "UNAVAILABLE"},
]
RAG = {"type": "rag", "input": {"query": "What is a lane?"}}
CHAT = {"type": "chat", "input": {"query": "What is a lane?"}}
KEYS = {name: name[0] * 40 for name in ("default", "hanging", "away", "flooding", "garbled")}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stuck(
    kafka_bootstrap: str, postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    """A system of two slots for each step, whose flood guards shut soon."""
    folder = tmp_path_factory.mktemp("stuck")
    environment = {
        "ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "ORCH_POSTGRES_DSN": await a_database(postgres_dsn),
        "ORCH_KAFKA_SESSION_TIMEOUT_S": "6",
        "ORCH_KAFKA_STALL_TIMEOUT_S": "12",
        "ORCH_TOPICS_PREFIX": f"{folder.name}.",
        "ORCH_TOPICS_PARTITIONS": "1",
        "ORCH_ROUTER_SNAPSHOT_INTERVAL_S": "1",
        "ORCH_ROUTER_HOLD_S": "8",
        "ORCH_WORKER_SLOTS": "2",
        "ORCH_FLOOD_GUARD_WINDOW": "4",
        "ORCH_FLOOD_GUARD_PROBE_EVERY_S": "600",
        # It would open before a flood guard shuts.
        "ORCH_BREAKER_ERRORS_PERCENT": "100",
        "ORCH_METRICS_LAG_INTERVAL_S": "1",
        "ORCH_API_KEYS": ",".join(
            f"{tenant}:{sha256(key.encode()).hexdigest()}" for tenant, key in KEYS.items()
        ),
        "ORCH_API_LIMITS_TENANT_PRIORITY_MAX": "8",
        "ORCH_DEMO_FAULTS": json.dumps(FAULTS),
        **ANY_PORTS,
    }
    settings = load_settings(environment, DEV_DEFAULTS)
    async with open_system(settings, environment=environment, logs=folder) as system:
        running = Running(system=system, call_log=folder / "calls.jsonl", logs=folder)
        async with asyncio.timeout(WAIT_S):
            while not await _ready(running):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        yield running


async def _ready(running: Running) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"http://{running.system.http_address}/readyz"
            return (await client.get(url)).status_code == 200
    except httpx.HTTPError:
        return False


@asynccontextmanager
async def api(running: Running, tenant: str = "default") -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service with the key of a tenant."""
    headers = {"authorization": f"Bearer {KEYS[tenant]}"}
    url = f"http://{running.system.http_address}/api/v1"
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
        yield client


async def created(running: Running, tenant: str = "default", **fields: Any) -> str:
    """The id of a new task: a rag task, unless the fields say otherwise."""
    async with api(running, tenant) as client:
        answer = await client.post("/tasks", json={**RAG, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["task"]["id"])


async def cancelled(running: Running, tenant: str, *ids: str) -> None:
    """Cancel tasks."""
    async with api(running, tenant) as client:
        for task_id in ids:
            assert (await client.post(f"/tasks/{task_id}:cancel")).status_code == 200


def targets(running: Running) -> dict[str, str]:
    """The address of each process that has a target, by its name."""
    found = {}
    for path in running.system.targets.glob("*.json"):
        [group] = json.loads(Path(path).read_text())
        found[str(group["labels"]["process"])] = str(group["targets"][0])
    return found
