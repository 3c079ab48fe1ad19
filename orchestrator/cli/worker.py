"""``orchestrator worker ROLE``: one role in this process."""

import asyncio
import signal
from typing import Annotated

import typer

from orchestrator.cli.environment import command_settings
from orchestrator.layout import roles
from orchestrator.observability import serve_metrics, set_up_logs
from orchestrator.pipelines import installed_pipelines
from orchestrator.roles import run_role
from orchestrator.settings import Settings
from orchestrator.traces import exported_traces


def worker(
    role: Annotated[
        str, typer.Argument(help="router, sink, dlq-index, or step.NAME, such as step.retrieve.")
    ],
) -> None:
    """Run one role until SIGTERM or Ctrl-C. Run several of a step side by side to scale it."""
    settings = command_settings()
    _check(role, settings)
    set_up_logs(settings.log, role=role)
    serve_metrics(settings.metrics)
    with exported_traces(settings.traces, role=role):
        code = asyncio.run(run_role(role, settings))
    raise typer.Exit(code)


def _check(role: str, settings: Settings) -> None:
    """A name that is not a role is a wrong argument: BadParameter, with the roles."""
    known = roles(installed_pipelines(settings.pipelines))
    if role not in known:
        raise typer.BadParameter(f"there is no role {role!r}; roles: {', '.join(known)}")


def demo_services() -> None:
    """Run the reference services, for `dev` and for tests."""
    # Only here: a deployment does without what they need (speech models, image readers).
    from orchestrator.local.demo.server import ReferenceServices

    settings = command_settings()
    set_up_logs(settings.log, role="demo-services")

    async def serve() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        async with ReferenceServices(settings.demo):
            await stopping.wait()

    asyncio.run(serve())
