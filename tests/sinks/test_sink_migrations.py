"""Migrations: their form, and that they run once, whoever runs them."""

import asyncio
import uuid
from importlib.resources import files

import asyncpg
import pytest

from sinks.errors import MigrationError, SchemaMissingError
from sinks.schema.migrate import grant_analysts, migrate_status, migrate_up
from sinks.schema.migration import in_order, load_migrations, of_phase, parse, pending
from sinks.settings import PostgresSettings
from sinks.writer import Writer

UP_AND_DOWN = "-- why\n\n-- migrate:up\nCREATE TABLE a ();\n\n-- migrate:down\nDROP TABLE a;\n"


def test_a_file_has_a_way_up_and_a_way_down() -> None:
    migration = parse("0001_pre_create_a.sql", UP_AND_DOWN)

    assert (migration.up, migration.down) == ("CREATE TABLE a ();", "DROP TABLE a;")
    assert len(migration.checksum) == 64


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("0001_create_a.sql", UP_AND_DOWN, id="neither pre nor post"),
        pytest.param("1_pre_a.sql", UP_AND_DOWN, id="three digits are missing"),
        pytest.param("0001_pre_a.sql", "CREATE TABLE a ();", id="no sections"),
        pytest.param("0001_pre_a.sql", UP_AND_DOWN.split("-- migrate:down")[0], id="no way down"),
        pytest.param("0001_pre_a.sql", "-- migrate:up\n-- migrate:down\nX", id="nothing to do"),
        pytest.param(
            "0001_pre_a.sql", UP_AND_DOWN.replace(":up", ":up transaction:false"), id="an option"
        ),
    ],
)
def test_a_file_of_another_form_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(MigrationError, match=name):
        parse(name, text)


def test_two_files_of_one_number_are_refused() -> None:
    files = [parse(f"0001_pre_{name}.sql", UP_AND_DOWN) for name in "ab"]

    with pytest.raises(MigrationError, match="same number"):
        in_order(files)


def test_the_phase_before_a_deployment_leaves_what_the_version_before_cannot_run_with() -> None:
    names = ["0001_pre_a.sql", "0002_post_b.sql", "0003_pre_c.sql", "0004_post_drop_pre_d.sql"]
    files = [parse(name, UP_AND_DOWN) for name in names]

    before = [m.name for m in of_phase(files, before_deployment=True)]
    after = [m.name for m in of_phase(files, before_deployment=False)]

    assert before == names[:3]
    assert after == names


def test_names_of_a_newer_program_are_left_alone() -> None:
    files = [parse("0001_pre_a.sql", UP_AND_DOWN)]

    assert pending(files, {"0001_pre_a.sql": files[0].checksum, "0002_pre_b.sql": "?"}) == []


def test_every_file_says_why_what_it_locks_and_the_way_down() -> None:
    for migration in load_migrations():
        file = files("sinks").joinpath("migrations", migration.name)
        header = file.read_text(encoding="utf-8").split("\n\n")[0]

        assert all(word in header for word in ("-- Why: ", "-- Locks: ", "-- Down: "))


async def test_the_second_run_has_nothing_to_do(empty_database: str) -> None:
    first = await migrate_up(empty_database)
    second = await migrate_up(empty_database)

    assert first == [migration.name for migration in load_migrations()]
    assert second == []


async def test_status_tells_what_is_applied(empty_database: str) -> None:
    before = await migrate_status(empty_database)
    await migrate_up(empty_database)
    after = await migrate_status(empty_database)

    assert [status.applied_at for status in before] == [None] * len(load_migrations())
    assert all(status.applied_at and status.known and not status.changed for status in after)


async def test_runs_at_once_apply_each_file_once(empty_database: str) -> None:
    applied = await asyncio.gather(*(migrate_up(empty_database) for _ in range(4)))

    assert sorted(map(len, applied)) == [0, 0, 0, len(load_migrations())]


async def test_a_file_that_changed_after_it_was_applied_is_named(empty_database: str) -> None:
    await migrate_up(empty_database)
    await _execute(
        empty_database,
        "UPDATE ai_orchestrator.schema_migrations SET checksum = 'x' WHERE name LIKE '0002%'",
    )

    with pytest.raises(MigrationError, match=r"0002_pre_create_task_steps\.sql has changed"):
        await migrate_up(empty_database)

    changed = [status.name for status in await migrate_status(empty_database) if status.changed]
    assert changed == ["0002_pre_create_task_steps.sql"]


async def test_a_file_that_fails_leaves_nothing_of_itself_behind(empty_database: str) -> None:
    good = parse("0001_pre_good.sql", UP_AND_DOWN)
    bad = parse("0002_pre_bad.sql", UP_AND_DOWN.replace("TABLE a ()", "TABLE b (); SELECT 1 / 0"))

    with pytest.raises(MigrationError, match=r"0002_pre_bad\.sql: 22012"):
        await migrate_up(empty_database, [good, bad])

    assert await _value(empty_database, "SELECT to_regclass('a')") == "a"
    assert await _value(empty_database, "SELECT to_regclass('b')") is None


async def test_the_way_down_leads_back_to_nothing(database: str) -> None:
    await _execute(database, *(migration.down for migration in reversed(load_migrations())))

    left = "SELECT count(*) FROM pg_class WHERE relnamespace = 'ai_orchestrator'::regnamespace"
    assert await _value(database, left + " AND relname NOT LIKE 'schema_migrations%'") == 0
    assert (
        await _value(
            database,
            "SELECT count(*) FROM pg_proc WHERE pronamespace = 'ai_orchestrator'::regnamespace",
        )
        == 0
    )


async def test_a_writer_waits_for_a_schema_and_refuses_one_of_another_version(
    empty_database: str,
) -> None:
    with pytest.raises(SchemaMissingError, match="run `orchestrator migrate up`, or wait"):
        await Writer(PostgresSettings(dsn=empty_database)).open()

    first, second, *_ = load_migrations()
    await migrate_up(empty_database, [first])
    with pytest.raises(MigrationError, match=rf"{second.name} is not applied"):
        await Writer(PostgresSettings(dsn=empty_database)).open()


async def test_analysts_read_their_tables_and_nothing_else(database: str) -> None:
    name = f"analysts {uuid.uuid4().hex}"
    await grant_analysts(database, name)
    await grant_analysts(database, name)

    conn = await asyncpg.connect(database)
    await conn.execute(f'SET ROLE "{name}"')
    for table in ("tasks", "task_steps", "task_execution_logs", "sink_offsets"):
        await conn.fetch(f"SELECT * FROM ai_orchestrator.{table}")
    for refused in (
        "SELECT * FROM ai_orchestrator.dead_letters",
        "DELETE FROM ai_orchestrator.tasks",
        "CREATE TABLE ai_orchestrator.mine ()",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute(refused)
    await conn.close()


async def test_analysts_of_a_database_without_tables_are_an_error(empty_database: str) -> None:
    with pytest.raises(MigrationError, match="role analysts: "):
        await grant_analysts(empty_database, "analysts")


@pytest.mark.parametrize("name", ["a" * 64, "é" * 32, " ", "analysts ", "", "a\nb"])
async def test_a_role_whose_name_postgres_would_change_is_refused(database: str, name: str) -> None:
    with pytest.raises(MigrationError, match="1 to 63 bytes"):
        await grant_analysts(database, name)


async def test_months_are_made_ahead(database: str) -> None:
    months = await _value(
        database,
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'ai_orchestrator.tasks'::regclass",
    )

    assert months == 3


async def _execute(database: str, *statements: str) -> None:
    conn = await asyncpg.connect(database)
    for statement in statements:
        await conn.execute(statement)
    await conn.close()


async def _value(database: str, question: str) -> object:
    conn = await asyncpg.connect(database)
    value = await conn.fetchval(question)
    await conn.close()
    return value
