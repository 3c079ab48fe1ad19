"""A system of its own for each module of chaos: its topics, its database, its processes."""

import json
import logging
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from orchestrator.layout import STEP_PREFIX
from orchestrator.local.dev.system import DEV_DEFAULTS, open_system
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from orchestrator.settings import load_settings
from schemas.topics import Topics
from tasks.pipeline_file import load_pipelines
from tests.chaos.chaos import Chaos
from tests.chaos.form import Form, form_from_environment
from tests.chaos.load import faults
from tests.chaos.watch import open_watch
from tests.e2e.driving import ANY_PORTS, Running, a_database


@pytest.fixture(scope="session")
def form() -> Form:
    # Our own clients complain with many lines while the broker is away on purpose.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    form = form_from_environment()
    print(f"\nchaos: {form}; again with CHAOS_SEED={form.seed}")
    return form


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def chaos(
    kafka_server: EmbeddedKafka,
    postgres_server: EmbeddedPostgres,
    form: Form,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Chaos]:
    """The running system, under watch."""
    folder = tmp_path_factory.mktemp("chaos")
    environment = {
        **ANY_PORTS,
        "ORCH_KAFKA_BOOTSTRAP": kafka_server.bootstrap,
        # The broker's own lower bound: a takeover is awaited often.
        "ORCH_KAFKA_SESSION_TIMEOUT_S": "6",
        "ORCH_TOPICS_PREFIX": f"chaos-{uuid.uuid4().hex[:8]}.",
        "ORCH_TOPICS_PARTITIONS": str(form.partitions),
        "ORCH_POSTGRES_DSN": await a_database(postgres_server.dsn),
        # Often, so that takeovers begin at checkpoints, and late snapshots can occur.
        "ORCH_ROUTER_SNAPSHOT_INTERVAL_S": "2",
        "ORCH_DEMO_FAULTS": json.dumps(faults(form.call_s)),
        "ORCH_DEMO_CALL_LOG": str(folder / "calls.jsonl"),
    }
    settings = load_settings(environment, DEV_DEFAULTS)
    topics = Topics(settings.topics)
    steps = load_pipelines().step_names
    followed = [topics.task_events, *(lane for step in steps for lane in topics.lanes(step))]
    # All tasks are rag tasks: the other workers would do nothing but poll.
    idle = {STEP_PREFIX + step: 0 for step in steps if step not in ("retrieve", "generate")}
    async with open_system(settings, environment=environment, logs=folder, replicas=idle) as system:
        running = Running(system=system, call_log=folder / "calls.jsonl", logs=folder)
        counts = dict.fromkeys(followed, form.partitions)
        async with open_watch(kafka_server.bootstrap, counts) as watch:
            yield Chaos(running, watch, form, kafka_server, postgres_server)
