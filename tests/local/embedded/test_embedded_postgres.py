"""The embedded Postgres, for real."""

import os
import socket
import time
from pathlib import Path

import asyncpg
import pytest

from orchestrator.local.embedded import postgres_home
from orchestrator.local.embedded.errors import PortTakenError, PostgresNotStartedError
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from orchestrator.local.embedded.postgres_home import choose_account, find_programs
from orchestrator.local.embedded.process import Child

only_as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as somebody else")


async def test_the_database_is_utf8_with_c_locale_in_utc(postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)

    row = await connection.fetchrow(
        "SELECT pg_encoding_to_char(encoding), datcollate, datctype, current_setting('TimeZone'),"
        " current_setting('listen_addresses'), current_setting('unix_socket_directories')"
        " FROM pg_database WHERE datname = current_database()"
    )
    await connection.close()

    assert tuple(row or ()) == ("UTF8", "C", "C", "UTC", "127.0.0.1", "")


async def test_nobody_enters_without_the_password(postgres_dsn: str) -> None:
    stranger = postgres_dsn.replace(postgres_dsn.split("@")[0], "postgresql://orchestrator:x")

    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(stranger)


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_committed_rows_survive(postgres_server: EmbeddedPostgres, how: str) -> None:
    dsn = postgres_server.dsn
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"CREATE TABLE kept_over_{how} AS SELECT 42 AS answer")
    connection.terminate()

    await (postgres_server.stop() if how == "stop" else postgres_server.kill())
    stopped_pid = postgres_server.pid
    started = time.monotonic()
    assert await postgres_server.start() == dsn
    print(f"start after {how}: {time.monotonic() - started:.2f} s")
    connection = await asyncpg.connect(dsn)
    answer = await connection.fetchval(f"SELECT answer FROM kept_over_{how}")
    await connection.execute(f"DROP TABLE kept_over_{how}")
    await connection.close()

    assert stopped_pid is None
    assert answer == 42


async def test_a_stop_does_not_wait_for_clients(server_dir: Path) -> None:
    postgres = EmbeddedPostgres(server_dir / "postgres-with-client", durable=False)
    connection = await asyncpg.connect(await postgres.start())
    started = time.monotonic()

    await postgres.stop()

    assert time.monotonic() - started < 10
    connection.terminate()


async def test_an_interrupted_initialization_is_done_again(server_dir: Path) -> None:
    postgres = EmbeddedPostgres(server_dir / "postgres-torn", durable=False)
    torn = postgres.data_dir / "data"
    torn.mkdir(parents=True)
    (torn / "PG_VERSION").write_text("18\n")

    dsn = await postgres.start()
    connection = await asyncpg.connect(dsn)
    await connection.close()
    await postgres.stop()

    assert (torn / "global").is_dir()


async def test_a_server_that_ends_while_it_starts_is_reported_with_its_log(
    server_dir: Path,
) -> None:
    postgres = EmbeddedPostgres(server_dir / "postgres-broken", durable=False)
    await postgres.start()
    await postgres.stop()
    (postgres.data_dir / "data" / "PG_VERSION").write_text("9.6\n")

    with pytest.raises(PostgresNotStartedError, match=r"status 1(.|\n)*version 9\.6") as caught:
        await postgres.start()

    assert caught.value.code == "POSTGRES_NOT_STARTED"
    assert postgres.pid is None


async def test_a_port_that_is_taken_is_refused_by_name(server_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        postgres = EmbeddedPostgres(server_dir / "postgres-no-port", port=port)

        with pytest.raises(PortTakenError, match=f"port {port} .* postgres, is taken"):
            await postgres.start()


@only_as_root
async def test_as_root_it_runs_as_nobody(postgres_server: EmbeddedPostgres) -> None:
    account = choose_account()
    assert account is not None

    status = Path(f"/proc/{postgres_server.pid}/status").read_text()  # noqa: ASYNC240  # not a disk

    assert f"Uid:\t{account.uid}\t{account.uid}" in status
    assert account.uid != 0


@only_as_root
async def test_data_under_a_closed_directory_move_to_one_that_nobody_can_reach(
    closed_dir: Path, monkeypatch: pytest.MonkeyPatch, server_dir: Path
) -> None:
    monkeypatch.setattr(postgres_home, "_shared_directory", lambda: server_dir)
    postgres = EmbeddedPostgres(closed_dir, durable=False)
    connection = await asyncpg.connect(await postgres.start())
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    await connection.close()
    await postgres.stop()

    again = EmbeddedPostgres(closed_dir, durable=False)
    connection = await asyncpg.connect(await again.start())
    answer = await connection.fetchval("SELECT answer FROM kept")
    await connection.close()
    await again.stop()

    assert answer == 42
    assert Path((closed_dir / "location").read_text().strip()).parent == server_dir


@only_as_root
async def test_programs_that_nobody_can_read_are_copied_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server_dir: Path
) -> None:
    monkeypatch.setattr(postgres_home, "_shared_directory", lambda: server_dir)
    monkeypatch.setattr(postgres_home, "_is_runnable_by", lambda programs, account: False)
    account = choose_account()
    assert account is not None

    programs = find_programs(account)
    again = find_programs(account)
    child = Child(
        "initdb",
        [programs / "initdb", "--version"],
        env={},
        log_path=tmp_path / "log",
        cwd=Path("/"),
        uid=account.uid,
        gid=account.gid,
    )
    child.start()
    returncode = await child.wait(20)

    assert programs.is_relative_to(server_dir)
    assert again == programs
    assert (returncode, child.log_tail()[:6]) == (0, "initdb")


def test_a_user_without_a_name_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 2_000_000_123)

    with pytest.raises(PostgresNotStartedError, match="uid 2000000123, because no user"):
        choose_account()


def test_a_shared_directory_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_home, "SHARED_PARENT", tmp_path)
    (tmp_path / f"ai-orchestrator-{os.geteuid()}").symlink_to(tmp_path)

    with pytest.raises(PostgresNotStartedError, match="is not a directory that belongs to"):
        postgres_home._shared_directory()


@pytest.fixture
def closed_dir(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path
