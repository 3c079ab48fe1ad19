"""A change of the tables that refuses every row is waited for; a bad row is told apart from it."""

import asyncio
import json
import secrets
from collections.abc import Sequence

import asyncpg
import msgspec
import pytest
from msgspec.structs import astuple

from schemas.records import Json, Millis, TaskId
from sinks.errors import SchemaMissingError, SinkBlockedError, SinkRowError, SinkUnavailableError
from sinks.isolation import write_isolating
from sinks.known_good import known_good_batches
from sinks.reads.reader import Reader
from sinks.rows import LogEvent
from sinks.settings import PostgresSettings
from sinks.sqlstates import Policy, rule_of
from sinks.writer import Position, Writer
from tests.sinks.building import START, ALog, a_completed_log, at, write_all
from tests.sinks.conftest import named

MONTH = "y2025m10"
TASKS = "ai_orchestrator.tasks"
CHANGES = [
    pytest.param(
        f"ALTER TABLE {TASKS} ADD COLUMN owner text NOT NULL",
        f"ALTER TABLE {TASKS} DROP COLUMN owner",
        id="a NOT NULL column",
    ),
    pytest.param(
        f"ALTER TABLE {TASKS} ALTER COLUMN output SET NOT NULL",
        f"ALTER TABLE {TASKS} ALTER COLUMN output DROP NOT NULL",
        id="a column that must not be null any more",
    ),
    pytest.param(
        f"ALTER TABLE {TASKS} ADD CONSTRAINT never CHECK (status = 'gone') NOT VALID",
        f"ALTER TABLE {TASKS} DROP CONSTRAINT never",
        id="a CHECK that refuses all",
    ),
    pytest.param(
        f"CREATE UNIQUE INDEX one_a_tenant ON {TASKS}_{MONTH} (tenant_id)",
        "DROP INDEX ai_orchestrator.one_a_tenant",
        id="a unique index",
    ),
    pytest.param(
        "CREATE FUNCTION public.no() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'no'; END $$;"
        f"CREATE TRIGGER no BEFORE INSERT ON {TASKS} FOR EACH ROW EXECUTE FUNCTION public.no()",
        f"DROP TRIGGER no ON {TASKS}",
        id="a trigger that raises",
    ),
    pytest.param(
        "CREATE FUNCTION public.own() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'no' USING ERRCODE = 'AB123'; END $$;"
        "CREATE TRIGGER own BEFORE INSERT ON ai_orchestrator.task_execution_logs "
        "FOR EACH ROW EXECUTE FUNCTION public.own()",
        "DROP TRIGGER own ON ai_orchestrator.task_execution_logs",
        id="a trigger of the trail with a code of its own",
    ),
    pytest.param(
        "ALTER TABLE ai_orchestrator.task_execution_logs ALTER tenant_id TYPE varchar(3)",
        "ALTER TABLE ai_orchestrator.task_execution_logs ALTER tenant_id TYPE varchar(64)",
        id="a narrowed column of the trail",
    ),
    pytest.param(
        "CREATE DOMAIN public.small AS text CHECK (length(value) < 3);"
        f"ALTER TABLE {TASKS} ALTER COLUMN phase TYPE public.small",
        f"ALTER TABLE {TASKS} ALTER COLUMN phase TYPE text",
        id="a domain on a column",
    ),
    pytest.param(
        f"ALTER TABLE {TASKS} DETACH PARTITION {TASKS}_{MONTH}",
        f"DROP TABLE {TASKS}_{MONTH}",
        id="a month's partition that was detached",
    ),
    pytest.param(
        "ALTER TABLE ai_orchestrator.sink_offsets ADD COLUMN who text NOT NULL",
        "ALTER TABLE ai_orchestrator.sink_offsets DROP COLUMN who",
        id="a NOT NULL column of the positions",
    ),
]


async def execute(database: str, statement: str) -> None:
    conn = await asyncpg.connect(database)
    try:
        await conn.execute(statement)
    finally:
        await conn.close()


def created(*ids: str) -> list[LogEvent]:
    log = ALog()
    for task_id in ids:
        log.create(task_id)
    return log.events


@pytest.mark.parametrize(("change", "undo"), CHANGES)
async def test_tables_that_refuse_every_row_block_the_writer_until_the_change_is_undone(
    database: str, writer: Writer, reader: Reader, change: str, undo: str
) -> None:
    # The month is there, and one task of the same tenant, where the change allows one.
    log = ALog()
    log.create("task_1")
    log.create("task_2")
    if "DETACH" in change:
        await writer.make_months_ahead()
        await execute(database, "SELECT ai_orchestrator.ensure_month('2025-10-01')")
    elif "UNIQUE" in change:
        await writer.write(0, None, log.events[:1], at(1))
    await execute(database, change)
    expected = (await writer.positions([0])).get(0)

    with pytest.raises(SinkUnavailableError) as refused:
        await writer.write(0, expected, log.events[1:], at(2))
    assert isinstance(refused.value, SinkBlockedError), refused.value

    await execute(database, undo)
    await writer.write(0, expected, log.events[1:], at(2))
    assert [task.id for task in await reader.tasks([TaskId("task_2")])] == ["task_2"]


async def test_no_table_is_made_beside_a_restore_that_has_not_filled_the_tables_yet(
    database: str, writer: Writer
) -> None:
    months = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'ai_orchestrator.tasks'::regclass"
    await execute(database, "DELETE FROM ai_orchestrator.schema_migrations")
    conn = await asyncpg.connect(database)
    before = await conn.fetchval(months)

    with pytest.raises(SchemaMissingError):
        await writer.make_months_ahead()
    with pytest.raises(SchemaMissingError):
        await writer.write(0, None, created("task_1"), at(1))

    assert await conn.fetchval(months) == before
    await conn.close()


async def test_a_position_that_a_restore_may_still_bring_is_waited_for(
    database: str, writer: Writer
) -> None:
    await execute(
        database, "ALTER TABLE ai_orchestrator.sink_offsets DROP CONSTRAINT sink_offsets_pkey"
    )

    with pytest.raises(SchemaMissingError, match="no key yet"):
        await writer.positions([0])
    with pytest.raises(SchemaMissingError):
        await writer.write(0, None, created("task_1"), at(1))


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"priority": 11}, id="out of range"),
        pytest.param({"tenant_id": "x" * 65}, id="an id that is too long"),
        pytest.param({"actor": "a\0b"}, id="NUL"),
        pytest.param({"occurred_at": Millis(10**18)}, id="a time beyond the calendar"),
    ],
)
async def test_the_only_row_of_a_log_is_bad_by_itself(
    database: str, writer: Writer, broken: dict[str, object]
) -> None:
    [only] = created("task_1")
    bad = LogEvent(0, 0, msgspec.structs.replace(only.event, **broken))

    with pytest.raises(SinkRowError):
        await writer.write(0, None, [bad], at(1))
    conn = await asyncpg.connect(database)
    left = await conn.fetchval(f"SELECT count(*) FROM {TASKS}")
    positions = await conn.fetchval("SELECT count(*) FROM ai_orchestrator.sink_offsets")
    await conn.close()
    assert (left, positions) == (0, 0)


async def test_a_constraint_that_refuses_some_rows_makes_these_rows_bad(
    database: str, writer: Writer
) -> None:
    await execute(database, f"ALTER TABLE {TASKS} ADD CHECK (user_id <> 'user_1') NOT VALID")

    with pytest.raises(SinkRowError, match="23514"):
        await writer.write(0, None, created("task_1"), at(1))


REFERENCE = (
    "CREATE TABLE public.tenants (id varchar(64) PRIMARY KEY);"
    "INSERT INTO public.tenants VALUES ('acme');"
    f"ALTER TABLE {TASKS} ADD FOREIGN KEY (tenant_id) REFERENCES public.tenants"
)


async def test_a_row_that_a_reference_refuses_is_bad_while_rows_like_the_stored_ones_are_taken(
    database: str, writer: Writer
) -> None:
    first, second = created("task_1", "task_2")
    await execute(database, REFERENCE)
    await writer.write(0, None, [first], at(1))
    spec = msgspec.structs.replace(second.event.task, tenant_id="unknown")  # type: ignore[type-var]
    stranger = LogEvent(0, 1, msgspec.structs.replace(second.event, task=spec))

    with pytest.raises(SinkRowError, match="23503"):
        await writer.write(0, at(1), [stranger], at(2))


async def test_a_column_that_only_ended_tasks_fill_refuses_all_though_ended_tasks_are_stored(
    database: str, writer: Writer
) -> None:
    log = a_completed_log()
    await write_all(writer, log.events)
    await execute(database, f"ALTER TABLE {TASKS} ALTER COLUMN output SET NOT NULL")
    log.create("task_2")

    with pytest.raises(SinkBlockedError, match="output"):
        await writer.write(0, at(log.next_offset - 1), log.events[-1:], at(log.next_offset))


async def test_a_bad_row_in_a_table_that_refuses_all_is_waited_with_not_refused(
    database: str, writer: Writer
) -> None:
    [only] = created("task_1")
    bad = LogEvent(0, 0, msgspec.structs.replace(only.event, priority=11))
    await execute(database, f"ALTER TABLE {TASKS} ADD COLUMN owner text NOT NULL")

    with pytest.raises(SinkBlockedError, match="owner"):
        await writer.write(0, None, [bad], at(1))
    await execute(database, f"ALTER TABLE {TASKS} DROP COLUMN owner")
    with pytest.raises(SinkRowError):
        await writer.write(0, None, [bad], at(1))


async def test_a_right_that_is_revoked_is_waited_for(postgres_dsn: str, database: str) -> None:
    role = f"limited_{database.rsplit('_', 1)[-1]}"
    await execute(
        database,
        f"CREATE ROLE {role} LOGIN PASSWORD 'p'; GRANT USAGE ON SCHEMA ai_orchestrator TO {role};"
        f"GRANT ALL ON ALL TABLES IN SCHEMA ai_orchestrator TO {role}",
    )
    limited = Writer(PostgresSettings(dsn=as_role(database, role)))
    await execute(database, "SELECT ai_orchestrator.ensure_month('2025-10-01')")
    await limited.open()
    await execute(database, f"REVOKE INSERT ON {TASKS} FROM {role}")
    with pytest.raises(SinkBlockedError, match="42501"):
        await limited.write(0, None, created("task_1"), at(1))

    await execute(database, f"GRANT INSERT ON {TASKS} TO {role}")
    await limited.write(0, None, created("task_1"), at(1))
    await limited.close()
    await execute(database, f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize(
    "dsn_of",
    [
        pytest.param(lambda dsn: as_role(dsn, "nobody"), id="an unknown account"),
        pytest.param(lambda dsn: named(dsn, "nowhere"), id="an unknown database"),
    ],
)
async def test_an_account_or_a_database_that_is_refused_is_waited_for(
    database: str, dsn_of: object
) -> None:
    with pytest.raises(SinkBlockedError):
        await Writer(PostgresSettings(dsn=dsn_of(database))).open()  # type: ignore[operator]


async def test_the_known_good_rows_leave_nothing_and_may_be_tried_at_once(
    database: str, writer: Writer
) -> None:
    bad = [
        LogEvent(n, 0, msgspec.structs.replace(created(f"task_{n}")[0].event, priority=11))
        for n in range(4)
    ]

    outcomes = await asyncio.gather(
        *(writer.write(event.partition, None, [event], at(1)) for event in bad),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes] == [SinkRowError] * 4
    conn = await asyncpg.connect(database)
    tables = ("tasks", "task_steps", "task_execution_logs", "sink_offsets")
    left = [await conn.fetchval(f"SELECT count(*) FROM ai_orchestrator.{t}") for t in tables]
    await conn.close()
    assert left == [0, 0, 0, 0]


def test_the_known_good_rows_come_in_pairs_of_full_and_of_bare_ones() -> None:
    begun, later = known_good_batches(START)

    filled = [sum(value is not None for value in astuple(row)) for row in begun.begun]
    assert filled[0] == filled[1] < filled[2] == filled[3]
    assert len({row.id for row in begun.begun}) == 4
    assert set(later.tasks()) == set(begun.tasks())


def test_an_unknown_code_is_a_row_to_be_looked_at() -> None:
    assert rule_of("AB123").policy is Policy.ISOLATE


def as_role(dsn: str, role: str) -> str:
    scheme, rest = dsn.split("://", 1)
    return f"{scheme}://{role}:p@{rest.split('@', 1)[1]}"


HUGE = secrets.token_hex(4_000)


@pytest.mark.parametrize(
    "field", ["tenant_id", "conversation_id", "user_id", "type", "step", "kind of the document"]
)
async def test_8000_characters_where_a_name_is_usual_never_stop_the_neighbours(
    writer: Writer, reader: Reader, field: str
) -> None:
    events = created("task_1", "task_2", "task_3")
    event, spec = events[1].event, events[1].event.task
    assert spec is not None
    if field == "step":
        huge = [msgspec.structs.replace(event.dispatched[0], step=HUGE)]
        event = msgspec.structs.replace(event, dispatched=huge)
    elif field == "kind of the document":
        document = Json(json.dumps({HUGE: HUGE * 20}))
        spec = msgspec.structs.replace(spec, metadata=document)
        event = msgspec.structs.replace(event, task=spec)
    else:
        spec = msgspec.structs.replace(spec, **{field: HUGE})
        event = msgspec.structs.replace(event, task=spec)
    events[1] = LogEvent(0, 1, event)
    refused: list[SinkRowError] = []

    async def write(part: Sequence[LogEvent], after: Position) -> None:
        await writer.write(0, (await writer.positions([0])).get(0), part, after)

    async def note(_event: LogEvent, error: SinkRowError) -> None:
        refused.append(error)

    await write_isolating(write, note, events, at(3))

    written = [task.id for task in await reader.tasks([TaskId(f"task_{n}") for n in (1, 2, 3)])]
    if field == "kind of the document":
        # The index of documents holds hashes: a key may be as large as a document.
        assert (written, refused) == (["task_1", "task_2", "task_3"], [])
    else:
        assert (written, len(refused)) == (["task_1", "task_3"], 1)
    if field == "step":
        assert "54000" in str(refused[0])
