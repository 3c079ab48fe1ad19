"""``orchestrator worker ROLE ...``: one role in this process, or several."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from orchestrator.cli.environment import command_settings
from orchestrator.layout import DLQ_INDEX, SINK, roles_named
from orchestrator.log_level import switch_level_on_signal
from orchestrator.logs import set_up_logs
from orchestrator.monitoring.endpoint import monitored
from orchestrator.pipelines import installed_pipelines
from orchestrator.process import run_roles
from orchestrator.settings import Settings
from orchestrator.traces import exported_traces
from schemas.errors import SettingsError
from streams.forced_end import exit_after
from streams.health import Health
from streams.stop_signals import ignore_stops

_WRITERS = (SINK, DLQ_INDEX)
_END_S = 8.0
"""For what remains after the roles: the last spans, and threads of clients."""


def worker(
    roles: Annotated[
        list[str],
        typer.Argument(
            metavar="ROLE...",
            help="router, sink, dlq-index, or step.NAME, such as step.retrieve; steps: every step; "
            "all: every role.",
        ),
    ],
) -> None:
    """Run roles in this process until SIGTERM or Ctrl-C.

    Several roles share one processor core and end together: for small systems. Run several
    processes of a role side by side to scale it.
    """
    settings = command_settings()
    names = _named(roles, settings)
    shown = "+".join(dict.fromkeys(roles))
    set_up_logs(settings.log, role=shown)
    switch_level_on_signal(settings.log.level)
    health = Health()
    with (
        monitored(settings.metrics, health, role=shown),
        exported_traces(settings.traces, role=shown),
    ):
        code = asyncio.run(_run(names, settings, health))
    raise typer.Exit(code)


async def _run(names: Sequence[str], settings: Settings, health: Health) -> int:
    code = 1
    try:
        code = await run_roles(names, settings, health)
        return code
    finally:
        ignore_stops()
        # A thread of a client that does not end must not keep the process.
        exit_after(_END_S, code=code)


def _named(words: Sequence[str], settings: Settings) -> list[str]:
    """The roles; BadParameter, with the list of roles, for a word that names none.

    Raises:
        SettingsError: there is no address of Kafka, or of Postgres for a role that writes rows.
    """
    try:
        found = roles_named(words, installed_pipelines(settings.pipelines))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if not settings.kafka.bootstrap:
        raise SettingsError("ORCH_KAFKA_BOOTSTRAP is not set")
    if not settings.postgres.dsn and (writers := [role for role in found if role in _WRITERS]):
        raise SettingsError(f"ORCH_POSTGRES_DSN is not set, which {writers[0]} needs")
    return found
