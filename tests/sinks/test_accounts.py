"""The accounts of the page about Postgres: each may do its work, and no more."""

import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from schemas.records import TaskId
from sinks.errors import SinkBlockedError
from sinks.letters.writer import DeadLetterWriter
from sinks.reads.reader import Reader
from sinks.schema.migrate import migrate_up
from sinks.settings import PostgresSettings
from sinks.writer import Position, Writer
from tests.sinks.building import ALog

SECTION = Path("docs/postgres.md").read_text("utf-8").split("\n## Accounts\n")[1].split("\n## ")[0]
STATEMENTS = re.findall(r"```sql\n(.*?)```", SECTION, re.DOTALL)
PASSWORDS = {"owner": "one", "writer": "two", "reader": "three"}
OWNERS = (
    "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'ai_orchestrator'"
    " AND tablename LIKE 'tasks\\_y%'"
)


class Accounts:
    """A database of its own with the accounts of the page, under names of their own."""

    def __init__(self, server: str, name: str) -> None:
        self._server = server
        self.name = name

    def dsn(self, account: str) -> str:
        parts = urlsplit(self._server)
        login = f"{self.name}_{account}:{PASSWORDS[account]}@{parts.hostname}:{parts.port}"
        return urlunsplit(parts._replace(netloc=login, path=f"/{self.name}"))

    async def execute(self, dsn: str, statements: str) -> None:
        # One by one: a database is not made within a transaction.
        conn = await asyncpg.connect(dsn)
        for statement in filter(str.strip, statements.split(";")):
            await conn.execute(re.sub(r"\borchestrator(?=\b|_)", self.name, statement))
        await conn.close()

    async def drop(self) -> None:
        await self.execute(self._server, f"DROP DATABASE {self.name} WITH (FORCE)")
        for account in ("reader", "writer", "owner"):
            await self.execute(self._server, f"DROP ROLE {self.name}_{account}")


@pytest.fixture
async def accounts(postgres_dsn: str) -> AsyncIterator[Accounts]:
    before, after = STATEMENTS
    made = Accounts(postgres_dsn, f"accounts{uuid.uuid4().hex[:8]}")
    await made.execute(postgres_dsn, before)
    await migrate_up(made.dsn("owner"))
    await made.execute(made.dsn("owner"), after)
    yield made
    await made.drop()


async def test_the_writer_makes_months_that_belong_to_the_owner_and_lacks_no_right(
    accounts: Accounts,
) -> None:
    log = ALog()
    log.create("task_1")
    writer = Writer(PostgresSettings(dsn=accounts.dsn("writer")))
    await writer.open()
    # Its month is long past: no partition of it was made ahead.
    await writer.write(0, None, log.events, Position(1, 1, "owner"))
    findings = await writer.check_server()
    await writer.close()

    conn = await asyncpg.connect(accounts.dsn("owner"))
    owners = [row["tableowner"] for row in await conn.fetch(OWNERS)]
    await conn.close()
    assert [found for found in findings if "lacks" in found.what] == []
    assert owners == [f"{accounts.name}_owner"]


async def test_a_writer_that_may_make_no_function_waits_and_says_why(accounts: Accounts) -> None:
    hardened = f"REVOKE TEMPORARY ON DATABASE {accounts.name} FROM PUBLIC, {accounts.name}_owner"
    await accounts.execute(accounts.dsn("owner"), hardened)

    with pytest.raises(SinkBlockedError, match="lacks a right"):
        await Writer(PostgresSettings(dsn=accounts.dsn("writer"))).open()

    index = DeadLetterWriter(PostgresSettings(dsn=accounts.dsn("writer")))
    await index.open()
    [found] = [each for each in await index.check_server() if "lacks" in each.what]
    await index.close()
    assert f"TEMPORARY on database {accounts.name}" in found.what
    assert "GRANT TEMPORARY" in found.fix


async def test_the_reader_reads_rows_of_new_months_and_writes_nothing(accounts: Accounts) -> None:
    log = ALog()
    log.create("task_1")
    writer = Writer(PostgresSettings(dsn=accounts.dsn("writer")))
    await writer.open()
    await writer.write(0, None, log.events, Position(1, 1, "owner"))
    await writer.close()

    reader = Reader(PostgresSettings(dsn=accounts.dsn("reader")))
    await reader.open()
    found = await reader.tasks([TaskId("task_1")])
    await reader.close()
    assert [task.id for task in found] == ["task_1"]

    refused = Writer(PostgresSettings(dsn=accounts.dsn("reader")))
    await refused.open()
    with pytest.raises(SinkBlockedError, match="lacks a right"):
        await refused.write(1, None, [], Position(1, 1, "owner"))
    await refused.close()
