"""What the version before left is taken over: nothing is lost, nothing is done again.

``make_fixtures.py`` says which version that is, and how the fixture was made.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest
import pytest_asyncio

from orchestrator.local.dev.system import DEV_DEFAULTS, open_system
from orchestrator.settings import load_settings
from schemas.codec import encode
from schemas.records import CommandId, CommandKind, Millis, TaskCommand, TaskId
from tests.checker.reading import read_evidence
from tests.checker.snapshots import checkpoints
from tests.e2e.driving import ANY_PORTS, Running, a_database
from tests.e2e.letters import dlq, known_letters_of, replay
from tests.upgrade.contents import ENDED, FORGOTTEN, LIVE, PREFIX
from tests.upgrade.loading import Fixture, load, read_fixture

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def fixture() -> Fixture:
    return read_fixture()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upgraded(
    fixture: Fixture,
    kafka_bootstrap: str,
    postgres_dsn: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Running]:
    """The whole system of today on what the version before left."""
    folder = tmp_path_factory.mktemp("upgrade")
    dsn = await a_database(postgres_dsn)
    await load(fixture, kafka_bootstrap, dsn)
    environment = {
        **ANY_PORTS,
        "ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "ORCH_POSTGRES_DSN": dsn,
        "ORCH_TOPICS_PREFIX": PREFIX,
        "ORCH_TOPICS_PARTITIONS": "2",
        "ORCH_ROUTER_SNAPSHOT_INTERVAL_S": "1",
        "ORCH_DEMO_CALL_LOG": str(folder / "calls.jsonl"),
    }
    settings = load_settings(environment, DEV_DEFAULTS)
    async with open_system(settings, environment=environment, logs=folder) as system:
        running = Running(system=system, call_log=folder / "calls.jsonl", logs=folder)
        for task_id in ("held", "held-moved"):
            await execute(running, task_id)
        yield running


async def test_every_task_ends_and_those_that_had_ended_stay_as_they_were(
    upgraded: Running, fixture: Fixture
) -> None:
    rows = await upgraded.ended(list(LIVE))
    before = {row["id"]: row for row in fixture.tables()["tasks"]}
    now = {row["id"]: row for row in await as_json(upgraded, [*ENDED, FORGOTTEN])}

    assert {row["status"] for row in rows.values()} == {"completed"}
    assert {task_id: row["run"] for task_id, row in rows.items() if row["run"] > 1} == {
        "second-run": 2
    }
    assert (rows["moved"]["priority"], rows["held-moved"]["priority"]) == (10, 0)
    # Not `==` of the rows: an upgrade may add columns.
    for task_id in [*ENDED, FORGOTTEN]:
        assert before[task_id].items() <= now[task_id].items()
    assert set(LIVE) - before.keys() == {"late"}


async def test_the_checker_finds_nothing_in_the_log_of_both_versions(
    upgraded: Running, fixture: Fixture
) -> None:
    await upgraded.ended([*LIVE, *ENDED])
    await settled(upgraded)

    await upgraded.check([*LIVE, *ENDED], quiet=True)


async def test_rows_continue_the_sequences_that_the_version_before_wrote(
    upgraded: Running, fixture: Fixture
) -> None:
    rows = await upgraded.ended(list(LIVE))
    before = {row["id"]: row["sequence"] for row in fixture.tables()["tasks"]}
    sequences: dict[str, list[int]] = {}
    for event in await upgraded.events():
        sequences.setdefault(event["task_id"], []).append(event["sequence"])

    for task_id in LIVE:
        assert sequences[task_id] == list(range(1, rows[task_id]["sequence"] + 1))
        assert rows[task_id]["sequence"] > before.get(task_id, 0)
    assert {len(sequences[name]) for name in (*ENDED, FORGOTTEN)} == {
        before[name] for name in (*ENDED, FORGOTTEN)
    }


async def test_a_checkpoint_without_the_ids_of_topics_is_used_and_the_next_one_has_them(
    upgraded: Running, fixture: Fixture
) -> None:
    await upgraded.ended(list(LIVE))
    evidence = await read_evidence(upgraded.bootstrap, None, prefix=PREFIX)
    old = {(r.partition, r.offset) for r in fixture.of("task-state")}
    found = [
        ((c.record.partition, c.record.offset) in old, c.state.get("topics", {}))
        for c in checkpoints(evidence)
    ]
    router = (upgraded.logs / "router.log").read_text("utf-8")

    assert {len(topics) for is_old, topics in found if is_old} == {0}
    assert {frozenset(topics) for is_old, topics in found if not is_old} == {
        frozenset(
            (
                *upgraded.topics.router_inputs,
                upgraded.topics.task_events,
                upgraded.topics.task_state,
            )
        )
    }
    assert "snapshots_unreadable" not in router
    assert '"event": "waiting"' not in router
    restarts = upgraded.system.supervisor.restarts
    assert restarts == dict.fromkeys(restarts, 0)


async def test_a_dead_letter_of_the_version_before_is_listed_and_replayed(
    upgraded: Running,
) -> None:
    await upgraded.ended(list(LIVE))
    [letter] = await known_letters_of(upgraded, ["refused"])
    listed = await dlq(upgraded, "list", "--json")
    report = await replay(upgraded, letter.letter.id)
    row = await upgraded.row_until("refused", lambda row: row["status"] == "completed")

    assert letter.letter.id in listed.out
    assert (report["counts"], row["run"]) == ({"sent": 1}, 2)
    await settled(upgraded)
    await upgraded.check([*LIVE, *ENDED], quiet=True)


async def execute(running: Running, task_id: str) -> None:
    command = TaskCommand(
        command_id=CommandId(f"{task_id}-execute"),
        task_id=TaskId(task_id),
        tenant_id="acme",
        kind=CommandKind.EXECUTE,
        actor="ada",
        issued_at=Millis(0),
    )
    await running.publish(running.topics.task_commands, [(task_id.encode(), encode(command))])


async def as_json(running: Running, ids: Sequence[str]) -> list[dict[str, object]]:
    """Rows as the fixture has them."""
    connection = await asyncpg.connect(
        running.system.settings.postgres.dsn, server_settings={"timezone": "UTC"}
    )
    try:
        found = await connection.fetch(
            "SELECT to_jsonb(t)::text FROM ai_orchestrator.tasks t WHERE id = ANY($1)", list(ids)
        )
    finally:
        await connection.close()
    return [json.loads(row[0]) for row in found]


async def settled(running: Running) -> None:
    """Wait until a snapshot was written after the last event, and the sink has caught up."""
    async with asyncio.timeout(60):
        while True:
            evidence = await read_evidence(
                running.bootstrap, running.system.settings.postgres.dsn, prefix=PREFIX
            )
            assert evidence.tables is not None
            written = {r["log_partition"]: r["next_offset"] for r in evidence.tables.sink_offsets}
            done = {c.record.partition: c.offset for c in checkpoints(evidence)}
            ends = {
                partition: evidence.ends[evidence.topic("task-events"), partition]
                for partition in range(2)
            }
            if ends == done == written:
                return
            await asyncio.sleep(0.2)
