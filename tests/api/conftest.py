"""One whole system with two replicas of the service, for all tests of the API."""

import json
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from orchestrator.api.access.keys import key_hash
from orchestrator.api.server import Serving, open_service
from orchestrator.local.dev.fork import Fork
from orchestrator.local.dev.system import DEV_DEFAULTS, SERVE, open_system
from orchestrator.settings import load_settings
from tests.api.calling import FILE_KEYS, KEYS, Replica, Served, free_ports, key_lines
from tests.e2e.driving import Running, a_database

BOUNDS = {"ORCH_API_ANSWER_TIMEOUT_S": "2.0", "ORCH_API_PUBLISH_TIMEOUT_S": "1.5"}
"""As they are by default."""
FAULTS = [
    {"tenant": "slow", "delay_s": 0.7},
    {"tenant": "hanging", "service": "retrieval", "hang": True},
    {"tenant": "refused", "service": "retrieval", "status": "INVALID_ARGUMENT"},
    {"tenant": "mended", "service": "retrieval", "status": "INVALID_ARGUMENT", "times": 2},
]


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def served(
    kafka_bootstrap: str, postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    """The running system and its replicas, each a process."""
    folder = tmp_path_factory.mktemp("api")
    call_log = folder / "calls.jsonl"
    ports = free_ports(4)
    keys_file = folder / "keys.jsonl"
    keys_file.write_text(key_lines(), "utf-8")
    environment = {
        "ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "ORCH_POSTGRES_DSN": await a_database(postgres_dsn),
        # Beside the system of the end-to-end tests.
        "ORCH_TOPICS_PREFIX": "api.",
        # Each more is asked for by every idle fetch.
        "ORCH_TOPICS_PARTITIONS": "2",
        "ORCH_DEMO_FAULTS": json.dumps(FAULTS),
        "ORCH_DEMO_CALL_LOG": str(call_log),
        "ORCH_API_KEYS": ",".join(
            f"{name}:{key_hash(key)}" for name, key in KEYS.items() if name not in FILE_KEYS
        ),
        "ORCH_API_KEYS_FILE": str(keys_file),
        "ORCH_API_GRPC_PORT": str(ports[0]),
        "ORCH_API_HTTP_PORT": str(ports[1]),
        "ORCH_API_HEARTBEAT_S": "1",
        # On a machine that does many things at once, slow is not away.
        **dict.fromkeys(BOUNDS, "20"),
        # Replicas that start in the midst of a test begin with snapshots.
        "ORCH_ROUTER_SNAPSHOT_EVENTS": "50",
    }
    settings = load_settings(environment, DEV_DEFAULTS)
    async with open_system(settings, environment=environment, logs=folder) as system:
        other = {
            **dict(system.environment),
            "ORCH_API_GRPC_PORT": str(ports[2]),
            "ORCH_API_HTTP_PORT": str(ports[3]),
        }
        second = Fork(
            f"{SERVE}-2",
            ["serve"],
            env={**_plain_environment(), **other},
            log_path=folder / f"{SERVE}-2.log",
        )
        second.start()
        replicas = (Replica(ports[0], ports[1]), Replica(ports[2], ports[3]))
        running = Running(system=system, call_log=call_log, logs=folder)
        made = Served(running=running, replicas=replicas, second=second)
        try:
            for replica in replicas:
                await replica.wait_ready()
            yield made
        finally:
            for replica in replicas:
                await replica.close()
            await second.stop(5)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def third(served: Served) -> AsyncIterator[Serving]:
    """A replica in this process, whose memory can be looked into, with the usual bounds."""
    environment = {
        **dict(served.running.system.environment),
        **BOUNDS,
        "ORCH_API_GRPC_PORT": "0",
        "ORCH_API_HTTP_PORT": "0",
    }
    async with open_service(load_settings(environment)) as serving:
        yield serving


def _plain_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("ORCH_")}
