"""Kafka and Postgres for one program: the configured ones, otherwise embedded ones."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from orchestrator.local.embedded.errors import EmbeddedError
from orchestrator.local.embedded.kafka import USUAL_PORT as KAFKA_USUAL_PORT
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.lock import hold_data_dir
from orchestrator.local.embedded.postgres import USUAL_PORT as POSTGRES_USUAL_PORT
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from orchestrator.local.embedded.progress import Progress, say_nothing
from orchestrator.local.embedded.settings import EmbeddedSettings

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """The addresses of the two servers, and the objects of the embedded ones."""

    kafka_bootstrap: str
    postgres_dsn: str
    kafka: EmbeddedKafka | None
    """None: it was configured, not started by us."""

    postgres: EmbeddedPostgres | None
    """None: it was configured, not started by us."""


@asynccontextmanager
async def open_servers(
    settings: EmbeddedSettings,
    *,
    kafka_bootstrap: str | None,
    postgres_dsn: str | None,
    progress: Progress = say_nothing,
) -> AsyncIterator[Servers]:
    """Start the servers that are not configured, both at once; stop them when the context ends.

    They are stopped in every case: an error in the context, a start that fails, a
    cancellation. A cancellation during the stop kills them.

    Args:
        settings: the data directory of the embedded ones; unused if both are given.
        kafka_bootstrap: of a Kafka that runs elsewhere; it is not contacted.
        postgres_dsn: of a Postgres that runs elsewhere; it is not contacted.
        progress: called during long work, and when a server answers.

    Raises:
        DataDirInUseError: another process runs on ``settings.data_dir``.
        EmbeddedError: a server did not start; see :meth:`EmbeddedKafka.start` and
            :meth:`EmbeddedPostgres.start`. The other one was stopped again.
        RuntimeError: this is not the main thread.
    """
    kafka = None if kafka_bootstrap else _embedded_kafka(settings, progress)
    postgres = None if postgres_dsn else _embedded_postgres(settings)
    with ExitStack() as stack:
        if kafka is not None or postgres is not None:
            stack.enter_context(hold_data_dir(settings.data_dir))
        try:
            await _start({"Kafka": kafka, "Postgres": postgres}, progress)
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


def _embedded_kafka(settings: EmbeddedSettings, progress: Progress) -> EmbeddedKafka:
    return EmbeddedKafka(
        settings.data_dir / "kafka",
        port=settings.kafka_port or 0,
        usual_port=KAFKA_USUAL_PORT if settings.kafka_port is None else 0,
        start_timeout_s=settings.start_timeout_s,
        cache_path=settings.cache_path,
        progress=progress,
    )


def _embedded_postgres(settings: EmbeddedSettings) -> EmbeddedPostgres:
    return EmbeddedPostgres(
        settings.data_dir / "postgres",
        port=settings.postgres_port or 0,
        usual_port=POSTGRES_USUAL_PORT if settings.postgres_port is None else 0,
        start_timeout_s=settings.start_timeout_s,
    )


async def _start(
    servers: Mapping[str, EmbeddedKafka | EmbeddedPostgres | None], progress: Progress
) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for name, server in servers.items():
                if server is not None:
                    group.create_task(_start_one(name, server, progress))
    except BaseExceptionGroup as failures:
        ours, others = failures.split(EmbeddedError)
        if ours is None or others is not None:
            raise
        first, *further = ours.exceptions
        for error in further:
            _log.error("server_not_started", reason=str(error))
        # One error with one code for the caller, instead of a group.
        raise first from None


async def _start_one(
    name: str, server: EmbeddedKafka | EmbeddedPostgres, progress: Progress
) -> None:
    started = time.monotonic()
    await server.start()
    progress(f"{name} answers after {time.monotonic() - started:.1f} s")
