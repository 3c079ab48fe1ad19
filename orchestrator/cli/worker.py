"""``orchestrator worker ROLE``: one role in this process."""

import asyncio
from typing import Annotated

import typer

from orchestrator.cli.environment import command_settings
from orchestrator.layout import roles
from orchestrator.log_level import switch_level_on_signal
from orchestrator.logs import set_up_logs
from orchestrator.monitoring.endpoint import monitored
from orchestrator.pipelines import installed_pipelines
from orchestrator.roles import run_role
from orchestrator.settings import Settings
from orchestrator.traces import exported_traces
from schemas.errors import SettingsError
from streams.health import Health


def worker(
    role: Annotated[
        str, typer.Argument(help="router, sink, dlq-index, or step.NAME, such as step.retrieve.")
    ],
) -> None:
    """Run one role until SIGTERM or Ctrl-C. Run several of a step side by side to scale it."""
    settings = command_settings()
    _check(role, settings)
    set_up_logs(settings.log, role=role)
    switch_level_on_signal(settings.log.level)
    health = Health()
    with (
        monitored(settings.metrics, health, role=role),
        exported_traces(settings.traces, role=role),
    ):
        code = asyncio.run(run_role(role, settings, health))
    raise typer.Exit(code)


def _check(role: str, settings: Settings) -> None:
    """Raise BadParameter, with the list of roles, for a name that is not a role.

    Raises:
        SettingsError: there is no address of Kafka.
    """
    known = roles(installed_pipelines(settings.pipelines))
    if role not in known:
        raise typer.BadParameter(f"there is no role {role!r}; roles: {', '.join(known)}")
    if not settings.kafka.bootstrap:
        raise SettingsError("ORCH_KAFKA_BOOTSTRAP is not set")
