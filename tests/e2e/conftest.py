"""One whole system for all end-to-end tests: every role its own process, real servers."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from orchestrator.local.dev.system import DEV_DEFAULTS, open_system
from orchestrator.settings import load_settings
from tests.agents.services.test_services_page import a_program_of_the_page
from tests.e2e.driving import ANY_PORTS, Running, a_database
from tests.letters.load import EACH

FAULTS = [
    {"tenant": "slow", "delay_s": 1.0},
    {
        "tenant": "failing",
        "service": "rag_engine",
        "status": "UNAVAILABLE",
        "error_code": "MODEL_AWAY",
    },
    {"tenant": "recovering", "service": "rag_engine", "status": "UNAVAILABLE", "times": 2},
    {
        "tenant": "waiting",
        "service": "retrieval",
        "status": "RESOURCE_EXHAUSTED",
        "retry_after_ms": 1500,
        "times": 1,
    },
    {"tenant": "refused", "service": "retrieval", "status": "INVALID_ARGUMENT"},
    {"tenant": "garbled", "service": "rag_engine", "output": "no JSON"},
    {"tenant": "late", "delay_s": 3.0},
    {"tenant": "hanging", "service": "retrieval", "hang": True},
    {"tenant": "mended", "service": "rag_engine", "status": "INVALID_ARGUMENT", "times": 1},
    {
        "tenant": "dlq-step",
        "service": "retrieval",
        "status": "INVALID_ARGUMENT",
        "times": EACH,
    },
    {"tenant": "gone-on-completed", "status": "INVALID_ARGUMENT", "times": 1},
    {"tenant": "gone-on-cancelled", "status": "INVALID_ARGUMENT", "times": 1},
    # Three attempts of each of 40 tasks, 26 last ones until the pause, and two probes.
    {"tenant": "flooding", "service": "retrieval", "status": "UNAVAILABLE", "times": 148},
    {"tenant": "postgres-away", "status": "INVALID_ARGUMENT", "times": 1},
    {
        "tenant": "waiting-long",
        "service": "retrieval",
        "status": "UNAVAILABLE",
        "retry_after_ms": 6000,
        "times": 1,
    },
    {
        "tenant": "away",
        "service": "retrieval",
        "status": "UNAVAILABLE",
        "retry_after_ms": 4000,
    },
    {"tenant": "hanging-once", "service": "retrieval", "hang": True, "times": 1},
    {"tenant": "raced", "delay_s": 0.1},
]


SEARCH = """\
pipeline: search
version: 3
steps:
  - name: retrieve
    service: retrieval-service
    method: Retrieve
    timeout_s: 10
    input: {query: $.input.words, top_k: 2}
  - name: shout
    service: shout
    method: Shout
    timeout_s: 10
    input: {text: $.input.words}
output: {found: $.steps.retrieve.documents, said: $.steps.shout.text}
"""
"""A task type of the installation: one file, no code, and a service that speaks HTTP."""

PATIENT = """\
pipeline: patient
version: 1
steps:
  - name: retrieve
    service: retrieval-service
    method: Retrieve
    timeout_s: 200
    input: {query: $.input.query, top_k: 2}
output: {found: $.steps.retrieve.documents}
"""
"""A task type whose only call may take longer than any test: what ends it is no timeout."""

YELL = """\
pipeline: yell
version: 1
steps:
  - name: shout
    service: shout
    method: Shout
    timeout_s: 10
    input: {text: $.input.words}
output: {said: $.steps.shout.text}
"""
"""Its only step is none of the built-in pipelines', and its service refuses what is no text."""


_LAST = ("test_cancel_race.py", "test_fuzz_records.py", "test_dead_letters.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put last what every later check would have to read, or would object to.

    Every check reads all that there is, thousands of records of these files too, and takes
    letters that were imported from another system for wrong ones.
    """
    folder = Path(__file__).parent
    places = [place for place, item in enumerate(items) if item.path.parent == folder]
    ours = sorted(
        (items[place] for place in places),
        key=lambda item: _LAST.index(item.path.name) if item.path.name in _LAST else -1,
    )
    for place, item in zip(places, ours, strict=True):
        items[place] = item


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def running(
    kafka_bootstrap: str, postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    """The running system, with faults by tenant and a log of all calls of its services."""
    folder = tmp_path_factory.mktemp("system")
    dsn = await a_database(postgres_dsn)
    call_log = folder / "calls.jsonl"
    environment = {
        "ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "ORCH_POSTGRES_DSN": dsn,
        # Enough for what moves between owners; each more is asked for by every idle fetch.
        "ORCH_TOPICS_PARTITIONS": "2",
        **ANY_PORTS,
        "ORCH_DEMO_FAULTS": json.dumps(FAULTS),
        "ORCH_DEMO_CALL_LOG": str(call_log),
        # Shorter than in a deployment, so that tests need not wait.
        "ORCH_ROUTER_HOLD_S": "2",
        "ORCH_ROUTER_SNAPSHOT_INTERVAL_S": "1",
        "ORCH_FLOOD_GUARD_PROBE_EVERY_S": "1",
        # Tests make many retries, and none should wait because of those of another.
        "ORCH_RETRY_BUDGET_PER_MINUTE_MIN": "10000",
        "ORCH_BREAKER_OPEN_S": "0.5",
        "ORCH_BREAKER_OPEN_MAX_S": "1",
    }
    (folder / "pipelines").mkdir()
    (folder / "pipelines" / "search.yaml").write_text(SEARCH)
    (folder / "pipelines" / "patient.yaml").write_text(PATIENT)
    (folder / "pipelines" / "yell.yaml").write_text(YELL)
    environment["ORCH_PIPELINES_DIR"] = str(folder / "pipelines")
    settings = load_settings(environment, DEV_DEFAULTS)
    async with (
        a_program_of_the_page(folder, "http") as address,
        open_system(
            settings,
            environment={**environment, "ORCH_SERVICES_EXTRA": f"shout={address}"},
            logs=folder,
            # Its breaker would open before its flood guard shuts.
            environment_of={"step.retrieve": {"ORCH_BREAKER_ERRORS_PERCENT": "100"}},
        ) as system,
    ):
        yield Running(system=system, call_log=call_log, logs=folder)
