"""Reads through a real pgbouncer in transaction mode, and TLS of real servers."""

import asyncio
import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import trustme

from orchestrator.local.embedded import postgres as embedded
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from orchestrator.local.embedded.postgres_home import choose_account
from schemas.records import TaskId
from sinks.errors import SinkUnavailableError
from sinks.letters import pages
from sinks.letters.reader import read_index
from sinks.reads.paging import TaskFilter
from sinks.reads.reader import Reader
from sinks.reads.usage import UsageFilter
from sinks.schema.migrate import migrate_up
from sinks.settings import PostgresSettings
from tasks.letters.filter import LetterFilter
from tests.sinks.connections.pgbouncer import a_pgbouncer
from tests.sinks.connections.test_postgres_tls import WAYS, Authority, Way, refused
from tests.sinks.restoring.debian_postgres import debians_postgres

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]

READERS = 8
ROUNDS = 25


@pytest.fixture
def folder(server_dir: Path, request: pytest.FixtureRequest) -> Path:
    found = server_dir / f"pgbouncer-{abs(hash(request.node.name))}"
    found.mkdir(mode=0o711)
    return found


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def read_everything(reader: Reader) -> None:
    await reader.tasks([TaskId("task_1")])
    await reader.steps(TaskId("task_1"))
    await reader.logs(TaskId("task_1"))
    await reader.count_by_status()
    await reader.list_tasks(TaskFilter(), limit=5)
    await reader.list_queue(TaskFilter(), limit=5)
    await reader.usage(UsageFilter())
    await reader.next_offsets()
    await pages.newest(reader, LetterFilter(tenant=("acme",)), limit=5)


async def test_readers_share_two_sessions_and_every_read_succeeds(
    database: str, folder: Path
) -> None:
    async with a_pgbouncer(database, folder) as pooled:
        settings = PostgresSettings(dsn=database, reader_dsn=pooled, reader_pooler=True)
        readers = [Reader(settings) for _ in range(READERS)]
        await asyncio.gather(*(reader.open() for reader in readers))
        for _ in range(ROUNDS):
            await asyncio.gather(*(read_everything(reader) for reader in readers))
        await read_index(settings)
        await asyncio.gather(*(reader.close() for reader in readers))


async def test_a_read_that_takes_too_long_is_ended_and_its_limit_ends_with_it(
    database: str, folder: Path
) -> None:
    async with a_pgbouncer(database, folder) as pooled:
        settings = PostgresSettings(
            dsn=database, reader_dsn=pooled, reader_pooler=True, statement_timeout_ms=50
        )
        reader = Reader(settings)
        await reader.open()
        for _ in range(4):
            with pytest.raises(SinkUnavailableError, match="57014"):
                await reader.fetch_sql("SELECT pg_sleep(5)")
        await reader.close()
        plain = await asyncpg.connect(pooled, statement_cache_size=0)
        assert await plain.fetchval("SHOW statement_timeout") == "0"
        await plain.close()


async def test_without_the_setting_the_refusal_names_it(database: str, folder: Path) -> None:
    async with a_pgbouncer(database, folder) as pooled:
        reader = Reader(PostgresSettings(dsn=database, reader_dsn=pooled))
        with pytest.raises(Exception, match="ORCH_POSTGRES_READER_POOLER"):
            await reader.open()


async def test_readers_check_the_certificate_of_pgbouncer(
    database: str, folder: Path, authority: Authority
) -> None:
    certificate = authority.ca.issue_cert("127.0.0.1")
    async with a_pgbouncer(database, folder, certificate) as pooled:
        verified = authority.verified(pooled).dsn
        settings = PostgresSettings(dsn=database, reader_dsn=verified, reader_pooler=True)
        reader = Reader(settings)
        await reader.open()
        await read_everything(reader)
        await reader.close()


async def test_a_server_with_ssl_on_is_used_by_every_way_and_checked(
    server_dir: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The packaged Postgres is built without TLS, Debian's with it.
    monkeypatch.setattr(embedded, "find_programs", lambda account: debians_postgres())
    server = EmbeddedPostgres(server_dir / "postgres-tls", durable=False)
    dsn = await server.start()
    try:
        await turn_tls_on(dsn, server_dir / "tls", authority.ca.issue_cert("127.0.0.1"))
        await migrate_up(dsn)
        for way in WAYS:
            await way(authority.verified(dsn))
        await check_errors(dsn, server_dir / "tls", authority)
    finally:
        await server.stop()


async def check_errors(dsn: str, folder: Path, authority: Authority) -> None:
    for certificate, said in (
        (trustme.CA().issue_cert("127.0.0.1"), "not of an authority in sslrootcert"),
        (authority.ca.issue_cert("other.example"), "for another host"),
        (None, "does not speak TLS"),
    ):
        await turn_tls_on(dsn, folder, certificate)
        for way in WAYS:
            assert said in await refused(way, authority.verified(dsn)), name_of(way)


def name_of(way: Way) -> str:
    return getattr(way, "__name__", "")


async def turn_tls_on(dsn: str, folder: Path, certificate: trustme.LeafCert | None) -> None:
    """Give the server a certificate, or none: ssl=off."""
    key, cert = folder / "server.key", folder / "server.crt"
    if certificate is not None:
        write_for_server(key, certificate.private_key_pem.bytes())
        write_for_server(cert, certificate.cert_chain_pems[0].bytes())
    conn = await asyncpg.connect(f"{dsn}?sslmode=prefer")
    on = "off" if certificate is None else "on"
    await conn.execute(f"ALTER SYSTEM SET ssl_key_file = '{key}'")
    await conn.execute(f"ALTER SYSTEM SET ssl_cert_file = '{cert}'")
    await conn.execute(f"ALTER SYSTEM SET ssl = {on}")
    await conn.fetchval("SELECT pg_reload_conf()")
    await conn.close()
    shown = certificate.cert_chain_pems[0].bytes() if certificate else None
    async with asyncio.timeout(20.0):
        while await shown_by(dsn) != shown:  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.05)


def write_for_server(file: Path, contents: bytes) -> None:
    file.parent.mkdir(mode=0o711, exist_ok=True)
    file.write_bytes(contents)
    file.chmod(0o600)
    if (account := choose_account()) is not None:
        os.chown(file, account.uid, account.gid)


async def shown_by(dsn: str) -> bytes | None:
    """The certificate that the server shows now, in PEM; None without TLS."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(dsn).port)
    try:
        writer.write(b"\0\0\0\x08\x04\xd2\x16\x2f")
        if await reader.readexactly(1) != b"S":
            return None
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        await writer.start_tls(context)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return ssl.DER_cert_to_PEM_cert(der).encode()
    finally:
        writer.close()
