"""One whole system whose processes export their spans to a receiver in this process."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from orchestrator.api.access.keys import key_hash
from orchestrator.local.dev.system import DEV_DEFAULTS, open_system
from orchestrator.settings import load_settings
from tests.e2e.driving import ANY_PORTS, Running, a_database
from tests.traces.receiver import Receiver, a_receiver

TENANTS = ("by-grpc", "by-http", "by-kafka", "refused")
_UNAVAILABLE = {"service": "rag_engine", "status": "UNAVAILABLE", "times": 1}
FAULTS = [
    *({"tenant": tenant, **_UNAVAILABLE} for tenant in TENANTS[:3]),
    {"tenant": "refused", "service": "rag_engine", "status": "INVALID_ARGUMENT", "times": 1},
]


@dataclass(frozen=True, slots=True)
class Traced:
    """The system and its spans."""

    running: Running
    receiver: Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with a_receiver() as opened:
        yield opened


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def traced(
    kafka_bootstrap: str, postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Traced]:
    """The running system, with a fault for each way in."""
    folder = tmp_path_factory.mktemp("traces")
    with a_receiver() as receiver:
        environment = {
            "ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap,
            "ORCH_POSTGRES_DSN": await a_database(postgres_dsn),
            "ORCH_TOPICS_PREFIX": "traces.",
            "ORCH_TOPICS_PARTITIONS": "2",
            "ORCH_DEMO_FAULTS": json.dumps(FAULTS),
            "ORCH_API_KEYS": ",".join(f"{name}:{key_hash(f'orch_{name}')}" for name in TENANTS),
            "ORCH_TRACES_ENDPOINT": receiver.endpoint,
            "ORCH_LOG_LEVEL": "debug",
            **ANY_PORTS,
        }
        settings = load_settings(environment, DEV_DEFAULTS)
        # The SDK's own variable: otherwise spans wait for 5 s.
        environment["OTEL_BSP_SCHEDULE_DELAY"] = "200"
        async with open_system(settings, environment=environment, logs=folder) as system:
            running = Running(system=system, call_log=folder / "calls.jsonl", logs=folder)
            yield Traced(running, receiver)
