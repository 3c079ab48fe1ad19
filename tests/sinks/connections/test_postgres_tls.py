"""Postgres over TLS: every way in which we connect, and what each error says."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trustme

from orchestrator.settings import load_settings
from schemas.findings import fatal
from sinks.errors import PostgresRefusedError, PostgresTlsError, SinkError
from sinks.letters.reader import read_index
from sinks.letters.writer import DeadLetterWriter
from sinks.pool import close_pool, connection, open_pool
from sinks.reads.reader import Reader
from sinks.schema.migrate import migrate_status, migrate_up
from sinks.server.check import check_server, server_version
from sinks.settings import PostgresSettings
from sinks.table_set import long_session
from sinks.writer import Writer
from tests.sinks.connections.tls_front import a_tls_front

Way = Callable[[PostgresSettings], Awaitable[object]]


async def write_rows(settings: PostgresSettings) -> None:
    writer = Writer(settings)
    await writer.open()
    await writer.close()


async def read_rows(settings: PostgresSettings) -> None:
    reader = Reader(settings)
    await reader.open()
    try:
        await reader.count_by_status()
    finally:
        await reader.close()


async def write_letters(settings: PostgresSettings) -> None:
    writer = DeadLetterWriter(settings)
    await writer.open()
    await writer.close()


async def migrate(settings: PostgresSettings) -> None:
    await migrate_up(settings.dsn)


async def show_migrations(settings: PostgresSettings) -> None:
    await migrate_status(settings.dsn)


async def rebuild(settings: PostgresSettings) -> None:
    async with long_session(settings, "test") as conn:
        await conn.fetchval("SELECT 1")


async def check(settings: PostgresSettings) -> None:
    assert not fatal(await check_server(settings))


PAGE = Path("docs/postgres.md").read_text("utf-8")

WAYS: list[Way] = [write_rows, read_rows, write_letters, read_index, migrate, show_migrations]
WAYS += [rebuild, check, server_version]

every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


class Authority:
    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.file = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.file))

    def verified(self, dsn: str) -> PostgresSettings:
        return PostgresSettings(dsn=f"{dsn}?sslmode=verify-full&sslrootcert={self.file}")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def refused(way: Way, settings: PostgresSettings) -> str:
    """The message of the error, which quotes neither the DSN nor its parts."""
    with pytest.raises(SinkError) as raised:
        await way(settings)
    assert isinstance(raised.value, PostgresTlsError | PostgresRefusedError)
    assert raised.value.code == "POSTGRES_TLS_FAILED"
    said = str(raised.value)
    assert f"`{said}`" in PAGE
    secret = settings.dsn.partition("://")[2].partition("@")[0]
    for part in (settings.dsn, secret, secret.partition(":")[2], "127.0.0.1", "ca.pem"):
        assert part not in said
    return said


@every_way
async def test_a_server_of_our_authority_is_used(
    database: str, authority: Authority, way: Way
) -> None:
    async with a_tls_front(database, authority.ca.issue_cert("127.0.0.1")) as dsn:
        await way(authority.verified(dsn))


@every_way
async def test_a_server_of_another_authority_is_refused(
    database: str, authority: Authority, way: Way
) -> None:
    async with a_tls_front(database, trustme.CA().issue_cert("127.0.0.1")) as dsn:
        said = await refused(way, authority.verified(dsn))

    assert said == "the server's certificate is not of an authority in sslrootcert"


@every_way
async def test_a_certificate_for_another_host_is_refused(
    database: str, authority: Authority, way: Way
) -> None:
    async with a_tls_front(database, authority.ca.issue_cert("other.example")) as dsn:
        said = await refused(way, authority.verified(dsn))

    assert said == "the server's certificate is for another host than the DSN's"


async def test_verify_ca_takes_a_certificate_for_another_host(
    database: str, authority: Authority
) -> None:
    async with a_tls_front(database, authority.ca.issue_cert("other.example")) as dsn:
        settings = PostgresSettings(dsn=f"{dsn}?sslmode=verify-ca&sslrootcert={authority.file}")
        await read_rows(settings)


@every_way
async def test_a_server_without_tls_is_refused(
    database: str, authority: Authority, way: Way
) -> None:
    async with a_tls_front(database, None) as dsn:
        said = await refused(way, authority.verified(dsn))

    assert said == "the server does not speak TLS, which sslmode of the DSN demands"


@every_way
@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        (None, "sslrootcert of the DSN: No such file or directory"),
        ("no PEM", "a file of sslrootcert, sslcert, sslkey or sslcrl is not what it should be"),
    ],
)
async def test_a_wrong_file_is_named_by_its_parameter(
    database: str, tmp_path: Path, way: Way, contents: str | None, expected: str
) -> None:
    file = tmp_path / "ca.pem"
    if contents is not None:
        file.write_text(contents)
    settings = PostgresSettings(dsn=f"{database}?sslmode=verify-full&sslrootcert={file}")

    assert await refused(way, settings) == expected


@every_way
async def test_verify_full_without_an_authority_says_what_is_missing(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = PostgresSettings(dsn=f"{database}?sslmode=verify-full")

    said = await refused(way, settings)

    assert said == "sslmode of the DSN needs an authority: give sslrootcert"


async def test_the_dsn_of_the_page_works_with_a_host_and_a_file_of_ours(
    database: str, authority: Authority
) -> None:
    shown, *_ = re.findall(r'ORCH_POSTGRES_DSN="(.*?)"', PAGE)
    async with a_tls_front(database, authority.ca.issue_cert("127.0.0.1")) as dsn:
        place, query = shown.split("?")
        real = f"{dsn}?{query.replace('/etc/orchestrator/db-ca.pem', str(authority.file))}"
        settings = load_settings({"ORCH_POSTGRES_DSN": real}).postgres
        await read_rows(settings)

    assert place.startswith("postgresql://")
    assert settings.dsn == authority.verified(dsn).dsn


async def test_the_files_are_read_again_for_each_new_connection(
    database: str, authority: Authority
) -> None:
    async with a_tls_front(database, authority.ca.issue_cert("127.0.0.1")) as dsn:
        settings = authority.verified(dsn)
        pool = await open_pool(settings)
        async with connection(pool, settings):
            authority.file.unlink()
            trustme.CA().cert_pem.write_to_path(str(authority.file))
            with pytest.raises(PostgresTlsError):
                async with connection(pool, settings):
                    pass
        await close_pool(pool, 5.0)
