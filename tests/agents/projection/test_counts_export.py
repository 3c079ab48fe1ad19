"""Which counts a sink shows: those of its partitions, as Postgres has them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

import asyncpg
import pytest

from agents.projection.counts_export import CountsExport
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from sinks.counts.collector import CountsCollector
from sinks.counts.row import CountRow
from sinks.schema.migrate import migrate_up
from sinks.settings import PostgresSettings
from sinks.writer import Writer
from tests.agents.projection.projecting import Sink, a_marker, running
from tests.agents.projection.test_rebuild import a_log, events_of
from tests.e2e.driving import a_database
from tests.logged import logged
from tests.sinks.building import ALog, write_all

WAIT_S = 30.0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110  # another task reads
            await asyncio.sleep(0.01)


@pytest.fixture
async def writer(postgres_dsn: str) -> AsyncIterator[Writer]:
    """An open writer of a database with a task in partitions 0 and 1."""
    dsn = await a_database(postgres_dsn)
    await migrate_up(dsn)
    writer = Writer(PostgresSettings(dsn=dsn))
    await writer.open()
    for partition in (0, 1):
        log = ALog(partition=partition)
        log.create(f"task_{partition}")
        await write_all(writer, log.events)
    yield writer
    await writer.close()


def shown(collector: CountsCollector) -> set[int]:
    return {row.log_partition for row in collector.rows}


async def test_the_counts_of_assigned_partitions_are_shown_until_they_leave(
    writer: Writer,
) -> None:
    collector = CountsCollector()
    export = CountsExport(writer, collector, every_s=0.05)
    async with export.running():
        export.assigned(frozenset({0, 1}))
        await until(lambda: shown(collector) == {0, 1})
        export.assigned(frozenset({1}))

        # At once, before Postgres is asked again: the next owner shows them from now on.
        assert shown(collector) == {1}
        await until(lambda: shown(collector) == {1})
        export.assigned(frozenset())
        assert shown(collector) == set()


async def test_new_counts_are_shown_without_a_new_assignment(writer: Writer) -> None:
    collector = CountsCollector()
    export = CountsExport(writer, collector, every_s=0.05)
    async with export.running():
        export.assigned(frozenset({0}))
        await until(lambda: shown(collector) == {0})
        log = ALog(partition=0, next_offset=1)
        log.create("another")
        await write_all(writer, log.events)

        await until(lambda: sum(row.events for row in collector.rows) == 2)


async def test_the_last_counts_stay_while_postgres_is_away(
    postgres_server: EmbeddedPostgres, writer: Writer
) -> None:
    collector = CountsCollector()
    export = CountsExport(writer, collector, every_s=0.05)
    with logged("agents.projection.counts_export.log") as lines:
        async with export.running():
            export.assigned(frozenset({0}))
            await until(lambda: shown(collector) == {0})
            await postgres_server.kill()
            try:
                await until(lambda: any(line["event"] == "counts_not_read" for line in lines))
                assert shown(collector) == {0}
            finally:
                await postgres_server.start()
            log = ALog(partition=0, next_offset=1)
            log.create("another")
            await write_all(writer, log.events)
            await until(lambda: sum(row.events for row in collector.rows) == 2)

    said = [line for line in lines if line["event"] == "counts_not_read"]
    assert len(said) == 1
    assert said[0]["code"]


class FaultyOnce(Writer):
    """Its first reading of counts fails for a reason that is no error of Postgres."""

    read = 0

    async def counts(self, partitions: Iterable[int]) -> list[CountRow]:
        self.read += 1
        if self.read == 1:
            raise RuntimeError("a fault of ours")
        return []


async def test_an_unexpected_error_is_logged_and_the_counts_are_read_again() -> None:
    writer = FaultyOnce(PostgresSettings(dsn="postgresql://localhost/none"))
    export = CountsExport(writer, CountsCollector(), every_s=0.01)
    with logged("agents.projection.counts_export.log") as lines:
        async with export.running():
            export.assigned(frozenset({0}))
            await until(lambda: writer.read > 1)

    assert [(line["event"], line["code"]) for line in lines] == [("counts_not_read", "INTERNAL")]


async def test_the_sinks_application_shows_the_counts_of_what_it_wrote(sink: Sink) -> None:
    collector = CountsCollector()
    export = CountsExport(sink.parts.writer, collector, every_s=0.05)
    events = [a_marker(), *events_of(a_log())]
    async with export.running(), running(sink, export):
        await sink.append(events)
        await until(lambda: shown(collector) == {0})
        conn = await asyncpg.connect(sink.postgres.dsn)
        while await conn.fetchval("SELECT next_offset FROM ai_orchestrator.sink_offsets") < len(
            events
        ):
            pass
        wanted = await conn.fetchval(
            "SELECT sum(events) FROM ai_orchestrator.metric_counts"
            " WHERE metric LIKE 'orchestrator%'"
        )
        await conn.close()

        await until(lambda: sum(row.events for row in collector.rows) == wanted)
