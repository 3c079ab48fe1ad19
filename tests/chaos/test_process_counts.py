"""The two seed metrics that belong to a process, against Postgres, over kills of every process.

They begin at 0 with their process, so each process is read when it is at rest, then killed, and the
numbers of all its lives are added up. Postgres counts its own side: the rows of the tasks that were
created over gRPC, and the calls of each statement (``pg_stat_statements``).
"""

import asyncio
import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.layout import roles
from orchestrator.local.dev.system import DEV_DEFAULTS, SERVE, System, open_system
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from orchestrator.monitoring.target import read_targets
from orchestrator.settings import load_settings
from schemas.gen.orchestrator.v1 import orchestrator_pb2_grpc as pb_grpc
from schemas.records import TaskId
from sinks.metrics import _NAMES as NAMED
from sinks.queries import query
from tasks.pipeline_file import load_pipelines
from tests.api.calling import a_create
from tests.chaos.form import Form
from tests.e2e.driving import ANY_PORTS, Running, a_database

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

EQUAL_S = 60.0
AT_ONCE = 30
PROCESSES = [SERVE, *roles(load_pipelines())]
OPERATIONS = ("write", "count", "position", "read")
"""Of statements with names, which Postgres' texts can be compared with."""
_CONSTANT = re.compile(r"\$\d+|'[^']*'|\b\d+(?:\.\d+)?\b|(?<=extract\()epoch")
_LIST = re.compile(r"IN \(\?[^)]*\)")
_CALLS = """\
SELECT query, calls FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
WHERE d.datname = current_database()
"""


@asynccontextmanager
async def counting(folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A Postgres that counts the calls of each statement."""
    server = EmbeddedPostgres(folder, durable=False)
    await server.start()
    try:
        await execute(
            server.dsn,
            "ALTER SYSTEM SET shared_preload_libraries = pg_stat_statements",
            "ALTER SYSTEM SET pg_stat_statements.track = 'all'",
        )
        await server.stop()
        await server.start()
        yield server
    finally:
        await server.stop()


async def test_calls_and_statements_of_all_lives_are_those_of_postgres(
    kafka_server: EmbeddedKafka, server_dir: Path, form: Form, tmp_path: Path
) -> None:
    wanted = 1_000 if form.tasks >= 1_000 else 60
    async with counting(server_dir / "counting") as server:
        dsn = await a_database(server.dsn)
        environment = {
            **ANY_PORTS,
            "ORCH_KAFKA_BOOTSTRAP": kafka_server.bootstrap,
            "ORCH_KAFKA_SESSION_TIMEOUT_S": "6",
            "ORCH_POSTGRES_DSN": dsn,
            "ORCH_TOPICS_PREFIX": f"lives-{uuid.uuid4().hex[:8]}.",
            "ORCH_TOPICS_PARTITIONS": "2",
        }
        settings = load_settings(environment, DEV_DEFAULTS)
        async with open_system(settings, environment=environment, logs=tmp_path) as system:
            running = Running(system=system, call_log=tmp_path / "calls.jsonl", logs=tmp_path)
            await execute(dsn, "CREATE EXTENSION pg_stat_statements")
            ids: list[TaskId] = []
            earlier: Counter[Any] = Counter()
            for _ in range(2):
                ids += await created(system, wanted // 2)
                await running.ended(ids)
                earlier = await at_rest(system, dsn, earlier)
                for name in PROCESSES:
                    system.child(name).kill()
            ids += await created(system, 10)
            await running.ended(ids)
            total = await at_rest(system, dsn, earlier)

    assert total["CreateTask", "success"] == len(ids)
    assert all(total[operation] for operation in ("write", "count", "position"))


async def created(system: System, count: int) -> list[TaskId]:
    """Create tasks over gRPC, when the service is there."""
    async with grpc.aio.insecure_channel(system.grpc_address) as channel:
        stub = pb_grpc.OrchestratorStub(channel)
        first = await stub.CreateTask(a_create(), wait_for_ready=True, timeout=EQUAL_S)
        answers = [first]
        while len(answers) < count:
            some = range(min(AT_ONCE, count - len(answers)))
            answers += await asyncio.gather(*(stub.CreateTask(a_create()) for _ in some))
    return [TaskId(answer.task.id) for answer in answers]


async def at_rest(system: System, dsn: str, earlier: Counter[Any]) -> Counter[Any]:
    """The numbers of all lives until now, once they and Postgres agree; the reason if they do not.

    Args:
        system: with processes that have nothing to do.
        dsn: of its database.
        earlier: the numbers of former lives.
    """
    unequal: Mapping[Any, tuple[float, float]] = {}
    try:
        async with asyncio.timeout(EQUAL_S):
            while True:
                before = await in_postgres(dsn)
                found = earlier + await in_processes(system)
                unequal = {
                    name: (found[name], before[name])
                    for name in ("CreateTask", *OPERATIONS)
                    if (found[name] if name in OPERATIONS else found[name, "success"])
                    != before[name]
                }
                if not unequal and before == await in_postgres(dsn):
                    return found
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"processes and Postgres differ: {unequal}") from None


async def in_processes(system: System) -> Counter[Any]:
    """Calls by method and status, statements by operation, added up over the processes."""
    found: Counter[Any] = Counter()
    async with httpx.AsyncClient() as client:
        for name, address, _ in read_targets(system.targets):
            if name not in PROCESSES:
                continue
            text = (await client.get(f"http://{address}/metrics")).text
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    if sample.name == "orchestrator_grpc_requests_total":
                        found[sample.labels["method"], sample.labels["status"]] += int(sample.value)
                    if sample.name == "orchestrator_db_query_duration_seconds_count":
                        found[sample.labels["operation"]] += int(sample.value)
    return found


async def in_postgres(dsn: str) -> Counter[str]:
    """The same by Postgres: rows of tasks, and calls of our statements by operation."""
    operations = {
        without_constants(query(name)): operation
        for operation, names in NAMED.items()
        for name in names
    }
    connection = await asyncpg.connect(dsn)
    try:
        found = Counter({"CreateTask": await connection.fetchval(_TASKS)})
        for text, calls in await connection.fetch(_CALLS):
            if operation := operations.get(without_constants(text)):
                found[operation] += calls
    finally:
        await connection.close()
    return found


_TASKS = "SELECT count(*) FROM ai_orchestrator.tasks"


def without_constants(statement: str) -> str:
    """Postgres shows a number or a text in a statement as a parameter, and a list as one."""
    return " ".join(_LIST.sub("IN (?)", _CONSTANT.sub("?", statement)).split())


async def execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()
