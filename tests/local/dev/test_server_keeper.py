"""The embedded servers of ``dev`` come back by themselves after they were killed."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from orchestrator.local.dev.server_keeper import Restarts, ServerEndsError, keep, kept_running
from orchestrator.local.embedded.errors import EmbeddedError
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from orchestrator.local.embedded.servers import Servers, open_servers
from orchestrator.local.embedded.settings import EmbeddedSettings
from tests.logged import logged

WAIT_S = 60.0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110  # of other processes
            await asyncio.sleep(0.02)


def events(lines: Sequence[Mapping[str, object]], event: str) -> list[Mapping[str, object]]:
    return [line for line in lines if line["event"] == event]


async def topics_of(bootstrap: str, *new: str) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        if new:
            await admin.create_topics([NewTopic(name, 1, 1) for name in new])
        return list(await admin.list_topics())
    finally:
        await admin.close()


async def executed(dsn: str, statement: str) -> str:
    conn = await asyncpg.connect(dsn)
    try:
        return str(await conn.execute(statement))
    finally:
        await conn.close()


async def test_servers_that_are_killed_come_back_on_their_ports_with_their_data(
    server_dir: Path,
) -> None:
    settings = EmbeddedSettings(data_dir=server_dir / "kept", kafka_port=0, postgres_port=0)
    restarts = Restarts()
    with logged("orchestrator.local.dev.server_keeper.log") as lines:
        async with (
            open_servers(settings, kafka_bootstrap=None, postgres_dsn=None) as servers,
            kept_running(servers, restarts) as failed,
        ):
            assert servers.kafka is not None
            assert servers.postgres is not None
            await topics_of(servers.kafka_bootstrap, "kept")
            await executed(servers.postgres_dsn, "CREATE TABLE kept AS SELECT 1")
            for server in (servers.kafka, servers.postgres):
                assert server.pid is not None
                os.kill(server.pid, signal.SIGKILL)
            await until(lambda: len(events(lines, "server_started_again")) == 2)

            assert "kept" in await topics_of(servers.kafka_bootstrap)
            assert await executed(servers.postgres_dsn, "SELECT * FROM kept") == "SELECT 1"
            assert not asyncio.ensure_future(failed).done()

    ended = events(lines, "server_ended")
    assert {line["name"] for line in ended} == {"kafka", "postgres"}
    assert {line["status"] for line in ended} == {-signal.SIGKILL}
    assert all(Path(str(line["log"])).name == f"{line['name']}.log" for line in ended)
    assert len(ended) == 2
    assert restarts == {"kafka": 1, "postgres": 1}


async def test_a_server_that_cannot_start_any_more_is_given_up_after_bounded_tries(
    server_dir: Path,
) -> None:
    postgres = EmbeddedPostgres(server_dir / "broken", durable=False)
    await postgres.start()
    keeping = asyncio.create_task(keep("postgres", postgres, pause_s=0.01))
    for version in (server_dir / "broken").rglob("PG_VERSION"):
        version.unlink()
    await postgres.kill()

    with logged("orchestrator.local.dev.server_keeper.log") as lines, pytest.raises(EmbeddedError):
        async with asyncio.timeout(WAIT_S):
            await keeping
    assert len(events(lines, "server_not_started")) == 4
    assert postgres.pid is None


async def test_a_server_that_ends_again_and_again_is_given_up(server_dir: Path) -> None:
    postgres = EmbeddedPostgres(server_dir / "short", durable=False)
    await postgres.start()
    with logged("orchestrator.local.dev.server_keeper.log") as lines:
        keeping = asyncio.create_task(keep("postgres", postgres, pause_s=0.01))
        for number in range(6):
            await until(lambda: len(events(lines, "server_started_again")) >= number)  # noqa: B023
            await postgres.kill()
        with pytest.raises(ServerEndsError):
            async with asyncio.timeout(WAIT_S):
                await keeping


async def test_servers_of_somebody_else_are_left_alone() -> None:
    elsewhere = Servers(kafka_bootstrap="k:1", postgres_dsn="p", kafka=None, postgres=None)

    async with kept_running(elsewhere) as failed:
        assert not asyncio.ensure_future(failed).done()


def test_a_server_that_was_never_started_is_not_started_again(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="never started"):
        asyncio.run(EmbeddedKafka(tmp_path).start_again())
