"""A Postgres of Debian: a primary, its standby, or a base backup that recovers."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import pytest

from orchestrator.local.embedded.ports import free_ports
from orchestrator.local.embedded.postgres_home import choose_account
from orchestrator.local.embedded.process import Child

USER = "orchestrator"
WAIT_S = 60.0
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "fsync": "off",
    "wal_level": "replica",
    "hot_standby": "on",
}


class DebianPostgres:
    """One server with data of its own. Everybody on this machine may connect: it is a test's.

    Args:
        folder: of its own, where Postgres' account can go.
        port: that of a server that it replaces; a free one by default.
    """

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self.port = port or free_ports(1)[0]
        self._folder = folder
        self._data = folder / "data"
        self._child: Child | None = None
        folder.mkdir(mode=0o755)
        _give(folder)

    def dsn(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    async def make(self) -> None:
        """Make empty data."""
        options = ("--auth=trust", "--no-sync", "--encoding=UTF8", "--no-locale")
        await self._run("initdb", "-D", self._data, "-U", USER, *options)

    async def copy(self, primary: "DebianPostgres", *arguments: str) -> None:
        """Make the data a base backup of a running server."""
        source = ("-h", "127.0.0.1", "-p", str(primary.port), "-U", USER)
        await self._run("pg_basebackup", *source, "-D", self._data, "-c", "fast", *arguments)

    def recover(self) -> None:
        """Let the next start recover from an archive: ``restore_command`` and a target."""
        signal = self._data / "recovery.signal"
        signal.touch()
        _give(signal)

    async def start(self, settings: Mapping[str, str] | None = None) -> None:
        """Start the server; return when it answers."""
        given = {**_SETTINGS, "port": str(self.port), **(settings or {})}
        options = [text for item in given.items() for text in ("-c", "=".join(item))]
        self._child = self._program("postgres", "-D", self._data, *options)
        self._child.start()
        async with asyncio.timeout(WAIT_S):
            while not await self._answers():
                if self._child.returncode is not None:
                    pytest.fail(f"Postgres ended:\n{self._child.log_tail()}")
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """End it without a word to anybody, as a machine that fails does."""
        if self._child is not None:
            self._child.kill()
            await self._child.wait(WAIT_S)

    async def value(self, statement: str, database: str = "postgres") -> object:
        """The first value that a statement returns."""
        connection = await asyncpg.connect(self.dsn(database))
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    async def until(self, statement: str, database: str = "postgres") -> None:
        """Wait until a statement returns true."""
        async with asyncio.timeout(WAIT_S):
            while await self.value(statement, database) is not True:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def _answers(self) -> bool:
        try:
            return await self.value("SELECT true") is True
        except (OSError, asyncpg.PostgresError):
            return False

    async def _run(self, program: str, *arguments: str | Path) -> None:
        child = self._program(program, *arguments)
        child.start()
        if await child.wait(WAIT_S):
            pytest.fail(f"{program} failed:\n{child.log_tail()}")

    def _program(self, name: str, *arguments: str | Path) -> Child:
        account = choose_account()
        return Child(
            name,
            [debians_postgres() / name, *arguments],
            env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
            log_path=self._folder / f"{name}.log",
            cwd=self._folder,
            uid=None if account is None else account.uid,
            gid=None if account is None else account.gid,
        )


def _give(path: Path) -> None:
    if (account := choose_account()) is not None:
        os.chown(path, account.uid, account.gid)


def debians_postgres() -> Path:
    """The folder of its programs."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not installed:
        pytest.fail("no Postgres of Debian in /usr/lib/postgresql: apt-get install postgresql")
    return installed[-1]
