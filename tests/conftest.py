"""Fixtures for all tests: one real Kafka and one real Postgres a session.

They start with the first test that asks for them, so a run of pure tests starts nothing.
Tests share the servers and their data: use topics, groups, schemas or databases with names
of your own. A test that stops or kills a server starts it again before it ends; the port
stays the same. Tests may run in any event loop: the servers are not bound to one.
"""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog
from structlog._config import BoundLoggerLazyProxy

from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from tests.source_words import PACKAGES

_ROOM_BYTES = 4 * 1024**3
"""Far more than a session writes; in containers the file system is often 64 MiB."""


# gRPC's C core would write its own lines between the dots.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

# A shell that runs the tests in the background has Ctrl-C ignored, which every process that
# they start would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


_SYSTEMS = ("running", "chaos", "served", "dev")
"""Fixtures that start a whole system, in the order of how long their tests take."""


# test_promtool.py starts no server, and fetches programs.
_SERVERS_OF_THEIR_OWN = ("tests/local", "tests/chaos", "tests/monitoring/test_promtool.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--fast``: the tests that need no server and are not slow."""
    parser.addoption("--fast", action="store_true", help="only quick tests that need no server")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say which tests stay together, and begin with those that take longest.

    For ``--dist loadgroup``: each process has servers of its own, so the tests of one system,
    and elsewhere those of one file, share what their fixtures started.
    """
    if config.getoption("--fast"):
        _keep_fast(config, items)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    for item in items:
        group = _system(item)
        # Chaos has a system for each file.
        if group in (None, "chaos"):
            group = f"{item.path.parent.name}/{item.path.stem}"
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=_turn)


def _keep_fast(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if _needs_a_server(item) or item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=left_out)
    gone = set(left_out)
    items[:] = [item for item in items if item not in gone]


def _needs_a_server(item: pytest.Item) -> bool:
    folder = item.path.relative_to(item.config.rootpath).as_posix()
    return "server_dir" in getattr(item, "fixturenames", ()) or folder.startswith(
        _SERVERS_OF_THEIR_OWN
    )


def _system(item: pytest.Item) -> str | None:
    names = getattr(item, "fixturenames", ())
    return next((system for system in _SYSTEMS if system in names), None)


def _turn(item: pytest.Item) -> int:
    system = _system(item)
    return len(_SYSTEMS) if system is None else _SYSTEMS.index(system)


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """Undo what a command that ran in this process did to the loggers, for the tests after it."""
    before = structlog.get_config()
    yield
    if structlog.get_config() != before:
        structlog.configure(**before)
        for proxy in _loggers():
            # A logger keeps the level with which it first wrote.
            proxy.__dict__.pop("bind", None)


def _loggers() -> Iterator[BoundLoggerLazyProxy]:
    """Those of our modules; each module has at most one, as a global name."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in PACKAGES:
            yield from (v for v in vars(module).values() if type(v) is BoundLoggerLazyProxy)


@pytest.fixture(scope="session")
def server_dir() -> Iterator[Path]:
    """A temporary directory for the data of servers, in memory where that is possible.

    Kafka waits for the disk a few times for each partition that it makes, opens or closes:
    with hundreds of them a restart takes 15 s on a disk, 6 s in memory. Unlike pytest's
    ``tmp_path`` it can be passed by Postgres' account when root runs the tests.
    """
    with tempfile.TemporaryDirectory(prefix="orchestrator-test-", dir=_memory()) as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


def _memory() -> Path | None:
    """A file system in memory with room for the data of a session; None: there is none."""
    path = Path("/dev/shm")
    if not os.access(path, os.W_OK | os.X_OK):
        return None
    return path if shutil.disk_usage(path).free >= _ROOM_BYTES else None


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kafka_server(server_dir: Path) -> AsyncIterator[EmbeddedKafka]:
    """The running Kafka of this session, for tests that stop or kill it."""
    server = EmbeddedKafka(server_dir / "kafka")
    await server.start()
    try:
        yield server
    finally:
        # Killed, not stopped: nobody reads these data again.
        await server.kill()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server(server_dir: Path) -> AsyncIterator[EmbeddedPostgres]:
    """The running Postgres of this session, for tests that stop or kill it."""
    server = EmbeddedPostgres(server_dir / "postgres", durable=False)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture(scope="session")
def kafka_bootstrap(kafka_server: EmbeddedKafka) -> str:
    """``127.0.0.1:<port>`` of the session's Kafka."""
    return kafka_server.bootstrap


@pytest.fixture(scope="session")
def postgres_dsn(postgres_server: EmbeddedPostgres) -> str:
    """The DSN (with password) of the session's Postgres, as superuser."""
    return postgres_server.dsn
