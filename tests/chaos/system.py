"""A system of its own for chaos: its topics, its database, its processes, under watch."""

import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.layout import STEP_PREFIX
from orchestrator.local.dev.system import DEV_DEFAULTS, open_system
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from orchestrator.settings import load_settings
from schemas.topics import Topics
from tasks.pipeline_file import load_pipelines
from tests.chaos.chaos import Chaos
from tests.chaos.form import Form
from tests.chaos.load import faults
from tests.chaos.watch import open_watch
from tests.e2e.driving import ANY_PORTS, Running, a_database

STEPS = ("retrieve", "generate")
"""Those of a rag task."""


@asynccontextmanager
async def open_chaos(
    kafka: EmbeddedKafka,
    postgres: EmbeddedPostgres,
    form: Form,
    folder: Path,
    *,
    replicas: Mapping[str, int] | None = None,
    variables: Mapping[str, str] | None = None,
) -> AsyncIterator[Chaos]:
    """Start it on running servers, and stop it at the end.

    Args:
        kafka: gets topics of its own.
        postgres: gets a database of its own.
        form: its partitions, and how long a slow call takes.
        folder: for logs.
        replicas: how many processes a role has; 1 where it says nothing.
        variables: further ``ORCH_*`` variables of its processes.
    """
    environment = {
        **ANY_PORTS,
        "ORCH_KAFKA_BOOTSTRAP": kafka.bootstrap,
        # The broker's own lower bound: a takeover is awaited often.
        "ORCH_KAFKA_SESSION_TIMEOUT_S": "6",
        "ORCH_TOPICS_PREFIX": f"chaos-{uuid.uuid4().hex[:8]}.",
        "ORCH_TOPICS_PARTITIONS": str(form.partitions),
        "ORCH_POSTGRES_DSN": await a_database(postgres.dsn),
        # Often, so that takeovers begin at checkpoints, and late snapshots can occur.
        "ORCH_ROUTER_SNAPSHOT_INTERVAL_S": "2",
        "ORCH_DEMO_FAULTS": json.dumps(faults(form.call_s)),
        "ORCH_DEMO_CALL_LOG": str(folder / "calls.jsonl"),
        **(variables or {}),
    }
    settings = load_settings(environment, DEV_DEFAULTS)
    topics = Topics(settings.topics)
    steps = load_pipelines().step_names
    followed = [topics.task_events, *(lane for step in steps for lane in topics.lanes(step))]
    # All tasks are rag tasks: the other workers would do nothing but poll.
    idle = {STEP_PREFIX + step: 0 for step in steps if step not in STEPS}
    counts = {**idle, **(replicas or {})}
    async with open_system(
        settings, environment=environment, logs=folder, replicas=counts
    ) as system:
        running = Running(system=system, call_log=folder / "calls.jsonl", logs=folder)
        async with open_watch(kafka.bootstrap, dict.fromkeys(followed, form.partitions)) as watch:
            yield Chaos(running, watch, form, kafka, postgres)
