"""Kafka and Postgres for one program: the configured ones, or else embedded ones."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from orchestrator.local.embedded.errors import EmbeddedError
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.lock import hold_data_dir
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from orchestrator.local.embedded.settings import EmbeddedSettings

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where the two servers are, and the objects of those that are ours."""

    kafka_bootstrap: str
    postgres_dsn: str
    kafka: EmbeddedKafka | None
    """None: it was configured, not started by us."""

    postgres: EmbeddedPostgres | None
    """None: it was configured, not started by us."""


@asynccontextmanager
async def open_servers(
    settings: EmbeddedSettings, *, kafka_bootstrap: str | None, postgres_dsn: str | None
) -> AsyncIterator[Servers]:
    """Start what was not configured, both at once; stop it when the context ends.

    They are stopped in every case: an error in the context, a start that fails, a
    cancellation. A cancellation while they are being stopped kills them.

    Args:
        settings: where the embedded ones keep their data; not looked at if both are given.
        kafka_bootstrap: of a Kafka that runs elsewhere; it is not contacted.
        postgres_dsn: of a Postgres that runs elsewhere; it is not contacted.

    Raises:
        DataDirInUseError: another process runs on ``settings.data_dir``.
        EmbeddedError: a server did not start; see :meth:`EmbeddedKafka.start` and
            :meth:`EmbeddedPostgres.start`. The other one was stopped again.
        RuntimeError: this is not the main thread.
    """
    kafka = None if kafka_bootstrap else _embedded_kafka(settings)
    postgres = None if postgres_dsn else _embedded_postgres(settings)
    with ExitStack() as stack:
        if kafka is not None or postgres is not None:
            stack.enter_context(hold_data_dir(settings.data_dir))
        try:
            await _start(kafka, postgres)
            yield Servers(
                kafka_bootstrap=kafka_bootstrap or (kafka.bootstrap if kafka else ""),
                postgres_dsn=postgres_dsn or (postgres.dsn if postgres else ""),
                kafka=kafka,
                postgres=postgres,
            )
        finally:
            async with asyncio.TaskGroup() as group:
                for server in (kafka, postgres):
                    if server is not None:
                        group.create_task(server.stop())


def _embedded_kafka(settings: EmbeddedSettings) -> EmbeddedKafka:
    return EmbeddedKafka(
        settings.data_dir / "kafka",
        port=settings.kafka_port,
        start_timeout_s=settings.start_timeout_s,
        cache_path=settings.cache_path,
    )


def _embedded_postgres(settings: EmbeddedSettings) -> EmbeddedPostgres:
    return EmbeddedPostgres(
        settings.data_dir / "postgres",
        port=settings.postgres_port,
        start_timeout_s=settings.start_timeout_s,
    )


async def _start(kafka: EmbeddedKafka | None, postgres: EmbeddedPostgres | None) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for server in (kafka, postgres):
                if server is not None:
                    group.create_task(server.start())
    except BaseExceptionGroup as failures:
        ours, others = failures.split(EmbeddedError)
        if ours is None or others is not None:
            raise
        first, *further = ours.exceptions
        for error in further:
            _log.error("server_not_started", reason=str(error))
        # One error with one code for the caller, in place of a group.
        raise first from None
