"""A real Postgres for ``dev`` and the tests, in a child process."""

import asyncio
import os
import secrets
import shutil
import signal
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import structlog

from orchestrator.local.embedded.errors import PostgresNotStartedError
from orchestrator.local.embedded.ports import choose_ports
from orchestrator.local.embedded.postgres_home import (
    Account,
    choose_account,
    choose_home,
    find_programs,
)
from orchestrator.local.embedded.process import Child
from orchestrator.local.embedded.server import EmbeddedServer

USUAL_PORT = 5432
"""The port that Postgres' clients use by default."""

USER = "orchestrator"
DATABASE = "orchestrator"

_STOP_GRACE_S = 20.0
"""A fast shutdown takes 0.2 s plus a checkpoint."""

_KILL_WAIT_S = 10.0
_ATTEMPT_INTERVAL_S = 0.05
_CONNECT_TIMEOUT_S = 5.0

_SHARED_MEMORY_IN_USE = "pre-existing shared memory block"
"""Postgres' message while backends of a killed server still end, which takes moments."""

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # TCP only: the path of a socket in a deep data directory can be too long (107 bytes).
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "32MB",
    # Files in the data directory: a killed server that is not started again would leave
    # segments in /dev/shm, which is also small in containers.
    "dynamic_shared_memory_type": "mmap",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # The server's log is written by this program.
    "logging_collector": "off",
    "log_destination": "stderr",
}

_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}
"""``synchronous_commit`` stays on: committed data survives a kill of the server, and only
a crash of the machine loses (or corrupts) it."""

_log = structlog.get_logger()


class EmbeddedPostgres(EmbeddedServer):
    """Postgres on 127.0.0.1, UTF-8, C locale, UTC; a password of its own, TCP only.

    Data, port, password and log (``postgres.log``) are in ``data_dir`` and survive stop,
    kill and start; for root the data may lie elsewhere, see
    :mod:`orchestrator.local.embedded.postgres_home`. Only one server may run on a directory at a
    time. The process ends with ours (see :class:`~orchestrator.local.embedded.process.Child`).
    Not bound to an event loop: each method may be called in another one.
    """

    name = "Postgres"

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 0,
        usual_port: int = 0,
        start_timeout_s: float = 90.0,
        durable: bool = True,
    ) -> None:
        """Describe a server; nothing runs and nothing is written yet.

        Args:
            data_dir: of this server alone; created if missing.
            port: 0 keeps the port of the last start if it is free.
            usual_port: with ``port`` 0, tried before the port of the last start; 0: not tried.
            start_timeout_s: for each of initialization and start.
            durable: False (tests) does not wait for the disk: a crash of the machine may
                then corrupt the data, a crash of the server does not.
        """
        super().__init__(data_dir, port=port, start_timeout_s=start_timeout_s)
        self._usual_port = usual_port
        self._durable = durable
        self._dsn: str | None = None

    @property
    def dsn(self) -> str:
        """``postgresql://orchestrator:<password>@127.0.0.1:<port>/orchestrator``.

        The user is a superuser. The password was generated at the first start, because other users
        of the machine can reach the port, too.

        Raises:
            RuntimeError: it was never started.
        """
        if self._dsn is None:
            raise RuntimeError("this Postgres was never started")
        return self._dsn

    async def start(self) -> str:
        """Start the server and wait until it answers: 0.3 s, 1.5 s on a new directory.

        The database is created if missing. If the start fails or is cancelled, nothing is
        left running.

        Returns:
            The :attr:`dsn`.

        Raises:
            PostgresNotFoundError: before anything was started.
            PortTakenError: the requested port is taken.
            PostgresNotStartedError: the server ended or did not answer in time.
            RuntimeError: it runs already, or this is not the main thread.
        """
        self._check_stopped()
        account = choose_account()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        programs = await asyncio.to_thread(find_programs, account)
        home = choose_home(self.data_dir, account)
        ports = choose_ports(
            self.data_dir / "ports.json",
            {"postgres": self._port},
            {"postgres": self._usual_port},
        )
        port = ports["postgres"]
        marker = home / "initialized"
        if not marker.exists():
            await self._initialize(programs, home, account)
            marker.touch()
        password = (home / "password").read_text().strip()
        dsn = f"postgresql://{USER}:{password}@127.0.0.1:{port}/{DATABASE}"
        await self._run(programs, home, account, port, password)
        self._dsn = dsn
        return dsn

    async def stop(self) -> None:
        """End the server cleanly (open transactions are rolled back); kill it after 20 s.

        Does nothing if the server does not run.
        """
        if self._child is not None:
            # Postgres' fast shutdown; SIGTERM would wait until all clients disconnect.
            await self._child.stop(_STOP_GRACE_S, signal.SIGINT)

    def _last_port(self) -> int:
        return urlsplit(self.dsn).port or 0

    async def _initialize(self, programs: Path, home: Path, account: Account | None) -> None:
        # No marker: no server ever ran on this data. Interrupted work is redone.
        _make_private(home, account)
        arguments = ["--username", USER, "--pwfile", str(home / "password")]
        arguments += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale"]
        arguments += ["--no-instructions", *([] if self._durable else ["--no-sync"])]
        child = self._postgres_child("initdb", programs, home, account, arguments)
        child.start()
        try:
            returncode = await child.wait(self._start_timeout_s)
        except TimeoutError:
            raise self._not_started(child, "initdb did not end in time") from None
        finally:
            await child.stop(0.0)
        if returncode != 0:
            raise self._not_started(child, f"initdb ended with status {returncode}")

    async def _run(
        self, programs: Path, home: Path, account: Account | None, port: int, password: str
    ) -> None:
        settings = {**_SETTINGS, "port": str(port), **({} if self._durable else _NOT_DURABLE)}
        options = [text for item in settings.items() for text in ("-c", "=".join(item))]
        child = self._postgres_child("postgres", programs, home, account, options)
        await self._run_child(child, partial(self._answers, port, password))
        _log.info("postgres_started", port=port, pid=child.pid)

    def _may_start_again(self, child: Child) -> bool:
        # A killed server's children may hold the memory for a moment longer.
        return _SHARED_MEMORY_IN_USE in child.log_tail()

    async def _answers(self, port: int, password: str) -> bool:
        """Whether this server (identified by its password) answers, and has our database."""
        try:
            connection = await asyncpg.connect(
                host="127.0.0.1",
                port=port,
                user=USER,
                password=password,
                database="postgres",
                timeout=_CONNECT_TIMEOUT_S,
                command_timeout=_CONNECT_TIMEOUT_S,
            )
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        try:
            query = "SELECT 1 FROM pg_database WHERE datname = $1"
            if await connection.fetchval(query, DATABASE) is None:
                await connection.execute(f'CREATE DATABASE "{DATABASE}"')
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        finally:
            connection.terminate()
        return True

    def _postgres_child(
        self, program: str, programs: Path, home: Path, account: Account | None, args: list[str]
    ) -> Child:
        # PGDATA, PGPORT and the like are meant for another server.
        env = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return Child(
            program,
            [programs / program, "-D", home / "data", *args],
            env={**env, "LC_ALL": "C"},
            log_path=self.log_path,
            cwd=home,
            uid=None if account is None else account.uid,
            gid=None if account is None else account.gid,
        )

    def _not_started(self, child: Child, reason: str) -> PostgresNotStartedError:
        return PostgresNotStartedError(
            f"Postgres did not start: {reason}. Its log is {child.log_path}; if the data are"
            f" broken or of another version, delete {self.data_dir}. The log ends with:\n"
            f"{child.log_tail()}"
        )


def _make_private(home: Path, account: Account | None) -> None:
    """Make an empty ``data`` and a new ``password`` in ``home``, readable by the account only."""
    data, password = home / "data", home / "password"
    if data.exists():
        shutil.rmtree(data)
    data.mkdir(mode=0o700)
    password.unlink(missing_ok=True)
    password.touch(mode=0o600)
    password.write_text(f"{secrets.token_urlsafe(18)}\n")
    if account is not None:
        os.chown(data, account.uid, account.gid)
        os.chown(password, account.uid, account.gid)
