"""Makes ``fixture.json.gz``: all that a system of an older version leaves in Kafka and Postgres.

Run by hand in a checkout of that version, with its own copy of this script, and committed::

    git worktree add /tmp/old VERSION
    cd /tmp/old && PYTHONPATH=/tmp/old .venv/bin/python tests/upgrade/make_fixtures.py /tmp/old

The present fixture is of the code of d89243c, which had no such script: it was made by the copy
of commit 1deb3c2, the last one before the folders moved. The environment may be the present one,
as long as the older code runs with its dependencies.

A first system runs three days in the past, and completes a task. The second one, of today,
forgets that task, and brings others into every phase. Then its router and its workers are
killed. Tasks have time enough (an hour) for whoever takes over.
"""

import asyncio
import base64
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import asyncpg

from orchestrator.layout import topic_table
from orchestrator.local.dev import fork
from orchestrator.local.dev.system import DEV_DEFAULTS, System, open_system
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from orchestrator.pipelines import installed_pipelines
from orchestrator.settings import load_settings
from schemas.codec import encode
from schemas.records import (
    CommandId,
    CommandKind,
    Json,
    Millis,
    TaskCommand,
    TaskCreated,
    TaskId,
)
from schemas.topics import dlq
from sinks.schema.migration import load_migrations
from tests.checker.reading import read_evidence
from tests.checker.wire import decode
from tests.e2e.driving import ANY_PORTS, Running
from tests.upgrade.contents import ENDED, LIVE, PREFIX

FIXTURE = Path(__file__).parent / "fixture.json.gz"
DAYS_AGO_S = 3 * 24 * 3600
HOUR_MS = 3_600_000
WAIT_S = 60.0
FAULTS: list[dict[str, Any]] = [
    {"tenant": "hanging", "service": "rag_engine", "hang": True},
    {"tenant": "away", "service": "rag_engine", "status": "UNAVAILABLE", "retry_after_ms": 25_000},
    {"tenant": "again", "service": "retrieval", "status": "INVALID_ARGUMENT", "times": 1},
    {"tenant": "again", "service": "rag_engine", "hang": True},
    {"tenant": "refused", "service": "retrieval", "status": "INVALID_ARGUMENT"},
]


async def main(folder: Path) -> None:
    """Run both systems on servers of their own, and write down what they leave."""
    kafka, postgres = EmbeddedKafka(folder / "kafka"), EmbeddedPostgres(folder / "postgres")
    await asyncio.gather(kafka.start(), postgres.start())
    try:
        environment = {
            **ANY_PORTS,
            "ORCH_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "ORCH_POSTGRES_DSN": postgres.dsn,
            "ORCH_KAFKA_SESSION_TIMEOUT_S": "6",
            "ORCH_TOPICS_PREFIX": PREFIX,
            "ORCH_TOPICS_PARTITIONS": "2",
            "ORCH_ROUTER_SNAPSHOT_INTERVAL_S": "4",
            "ORCH_DEMO_FAULTS": json.dumps(FAULTS),
        }
        long_ago = {**environment, "FIXTURE_CLOCK_BEHIND_S": str(DAYS_AGO_S)}
        await run(long_ago, folder, three_days_ago)
        await run(environment, folder, today)
        FIXTURE.write_bytes(gzip.compress(json.dumps(await left(environment)).encode(), mtime=0))
        print(f"{FIXTURE}: {FIXTURE.stat().st_size} bytes")
    finally:
        await asyncio.gather(kafka.stop(), postgres.stop())


async def run(
    environment: Mapping[str, str], folder: Path, work: Callable[[Running], Awaitable[None]]
) -> None:
    """Open a system, and let it work."""
    settings = load_settings(environment, DEV_DEFAULTS)
    async with open_system(settings, environment=environment, logs=folder) as system:
        await work(Running(system=system, call_log=folder / "calls.jsonl", logs=folder))


async def three_days_ago(running: Running) -> None:
    """Complete a task, of which the next system will know that it ended long ago."""
    await running.create([a_task("forgotten")])
    await running.ended(["forgotten"])
    await running.until_state_holds("forgotten")
    await asyncio.sleep(2)  # offsets are committed once a second


async def today(running: Running) -> None:
    """Bring tasks into every phase, and kill what works on them."""
    system = running.system
    await running.publish(running.topics.task_created, [(b"bad", b"\x00bad")])
    await running.create(
        [a_task("done-1"), a_task("refused", "refused"), a_task("second-run", "again")]
    )
    await running.create([a_task(name, hold=True) for name in ("held", "held-moved", "stopped")])
    await running.ended(["done-1", "refused", "second-run"])
    await order(running, "stopped", "acme", CommandKind.CANCEL)
    await order(running, "second-run", "again", CommandKind.RETRY, run=1)
    await order(running, "held-moved", "acme", CommandKind.SET_PRIORITY, priority=0)
    await running.create(
        [a_task("running", "hanging"), a_task("done-2"), a_task("waiting", "away")]
    )
    await running.ended(["stopped", "done-2"])
    await phase(running, "running", "second-run", "waiting")
    await system.supervisor.stop("step.retrieve")
    await running.create([a_task("queued"), a_task("moved")])
    await phase(running, "queued", "moved")
    await order(running, "moved", "acme", CommandKind.SET_PRIORITY, priority=10)
    await running.row_until("moved", lambda row: row["priority"] == 10)
    for name in [*LIVE.keys() - {"late"}, *ENDED]:
        await running.until_state_holds(name)
    # The last task is in no row, and after the checkpoint.
    await system.supervisor.stop("sink")
    await running.create([a_task("late")])
    await created(running, "late")
    await kill(system)


def a_task(name: str, tenant: str = "acme", **changes: Any) -> TaskCreated:
    """A task that is called like what it is here for."""
    return TaskCreated(
        task_id=TaskId(name),
        tenant_id=tenant,
        type="rag",
        input=Json(json.dumps({"query": "What is a dead letter?"})),
        metadata=Json(json.dumps({"made": "for the upgrade"})),
        timeout_ms=HOUR_MS,
        created_at=now_ms(),
        **changes,
    )


async def order(
    running: Running, task_id: str, tenant: str, kind: CommandKind, **fields: Any
) -> None:
    """Publish a command, as the service does."""
    command = TaskCommand(
        command_id=CommandId(f"{task_id}-{kind}"),
        task_id=TaskId(task_id),
        tenant_id=tenant,
        kind=kind,
        actor="ada",
        issued_at=now_ms(),
        **fields,
    )
    await running.publish(running.topics.task_commands, [(task_id.encode(), encode(command))])


async def phase(running: Running, *names: str) -> None:
    """Wait until these tasks' rows have the phases that they are here for."""
    for name in names:
        await running.row_until(name, lambda row: row["phase"] == LIVE[row["id"]])


async def created(running: Running, task_id: str) -> None:
    """Wait until the log has an event of a task."""
    async with asyncio.timeout(WAIT_S):
        while task_id not in {event["task_id"] for event in await running.events()}:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def kill(system: System) -> None:
    """End the router and the workers as a crash does: nothing is finished, nothing is said."""
    for name in [n for n in system.supervisor.children if n.startswith(("router", "step."))]:
        system.supervisor.hold(name)
        if system.child(name).returncode is None:
            system.child(name).kill()


async def left(environment: Mapping[str, str]) -> dict[str, Any]:
    """Everything of the system, as JSON."""
    settings = load_settings(environment, DEV_DEFAULTS)
    table = topic_table(settings, installed_pipelines(settings.pipelines))
    evidence = await read_evidence(settings.kafka.bootstrap, None, prefix=PREFIX)
    kept = [record for records in evidence.records.values() for record in records]
    check(evidence.records, kept)
    return {
        "commit": commit(),
        "made_at_ms": now_ms(),
        "topics": [[topic.name, topic.partitions, topic.config] for topic in table],
        "records": [
            [
                *(r.topic, r.partition, r.offset, r.timestamp_ms, base64_of(r.key)),
                base64_of(r.value),
                [[name, base64_of(value)] for name, value in r.headers],
            ]
            for r in kept
        ],
        "committed": [[*place, offset] for place, offset in sorted(evidence.committed.items())],
        "migrations": [[m.name, m.checksum, m.up] for m in load_migrations()],
        "tables": await tables(settings.postgres.dsn),
    }


def check(records: Mapping[tuple[str, int], Any], kept: list[Any]) -> None:
    """Demand what the test relies on, so that a fixture without it is not committed."""
    for place, found in records.items():
        assert [r.offset for r in found] == list(range(len(found))), f"{place} has gaps"
    state = f"{PREFIX}task-state.v1"
    assert any(r.topic == state and r.key == b"forgotten" and r.value is None for r in kept)
    assert not any(r.topic == state and r.key == b"late" for r in kept)
    assert any(r.topic == dlq(f"{PREFIX}task-created.v1") for r in kept)
    last: dict[str, str] = {}
    for record in kept:
        if record.topic == f"{PREFIX}task-events.v1":
            event = decode(record.value, "TaskEvent")
            assert event is not None
            last[event["task_id"]] = event["phase"] or last.get(event["task_id"], "")
    wrong = {
        name: last.get(name) for name in (LIVE | ENDED) if last.get(name) != (LIVE | ENDED)[name]
    }
    assert not wrong, wrong


async def tables(dsn: str) -> dict[str, list[Any]]:
    """All rows, as Postgres itself writes them in JSON."""
    connection = await asyncpg.connect(dsn, server_settings={"timezone": "UTC"})
    try:
        names = await connection.fetch(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = 'ai_orchestrator' AND c.relkind IN ('r', 'p')"
            " AND NOT c.relispartition ORDER BY 1"
        )
        return {
            name: [
                json.loads(row[0])
                for row in await connection.fetch(
                    f"SELECT to_jsonb(t)::text FROM ai_orchestrator.{name} t ORDER BY 1"
                )
            ]
            for (name,) in names
        }
    finally:
        await connection.close()


def commit() -> str:
    """Of the worktree whose code ran."""
    done = subprocess.run(
        ["git", "rev-parse", "--short=7", "HEAD"],
        cwd=sys.argv[1],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def base64_of(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def now_ms() -> Millis:
    return Millis(time.time_ns() // 1_000_000)


if __name__ == "__main__":
    # The fork server finds what it imports by this variable alone.
    os.environ["PYTHONPATH"] += os.pathsep + str(Path(__file__).resolve().parent)
    fork._IMPORTED.insert(0, "fixture_clock")
    if not str(Path(fork.__file__)).startswith(os.path.realpath(sys.argv[1])):
        sys.exit(f"the code is that of {fork.__file__}: set PYTHONPATH={sys.argv[1]}")
    with tempfile.TemporaryDirectory(prefix="fixture-", dir="/dev/shm") as folder:
        Path(folder).chmod(0o711)
        asyncio.run(main(Path(folder)))
