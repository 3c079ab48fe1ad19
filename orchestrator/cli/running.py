"""Runs the work of a command with the settings that it needs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import typer

from orchestrator.cli.environment import command_settings, not_set
from orchestrator.logs import LogSettings, set_up_logs
from orchestrator.settings import Settings
from sinks.reads.reader import Reader

T = TypeVar("T")


def kafka_settings() -> Settings:
    """The settings, for a command that needs Kafka; SettingsError without its address."""
    settings = command_settings()
    if not settings.kafka.bootstrap:
        raise not_set("ORCH_KAFKA_BOOTSTRAP")
    return settings


def postgres_settings() -> Settings:
    """The settings, for a command that needs Postgres; SettingsError without its address."""
    settings = command_settings()
    if not settings.postgres.dsn:
        raise not_set("ORCH_POSTGRES_DSN")
    return settings


def log_to_standard_error() -> None:
    """Log warnings and errors to standard error; results go to standard output."""
    set_up_logs(LogSettings(level="warning", format="console"), role="cli")
    # It warns about brokers that it tries again; these lines would disturb our output.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, or until Ctrl-C, which ends the command with status 130."""
    log_to_standard_error()
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@asynccontextmanager
async def open_reader(settings: Settings) -> AsyncIterator[Reader]:
    """An open reader of the projection.

    Raises:
        SinkUnavailableError: Postgres did not answer; ask later.
        PostgresRefusedError: it refuses the connection; the message says why.
    """
    reader = Reader(settings.postgres)
    await reader.open()
    try:
        yield reader
    finally:
        await reader.close()
