"""``orchestrator worker ROLE``: one role in this process."""

import asyncio
import os
from typing import Annotated

import typer

from orchestrator.observability import serve_metrics, set_up_logs
from orchestrator.roles import run_role
from orchestrator.settings import load_settings
from orchestrator.traces import exported_traces


def worker(
    role: Annotated[str, typer.Argument(help="router, sink, or step.NAME (e.g. step.retrieve)")],
) -> None:
    """Run one role until SIGTERM or Ctrl-C. Run several of a step side by side to scale it."""
    settings = load_settings(os.environ)
    set_up_logs(settings.log, role=role)
    serve_metrics(settings.metrics)
    with exported_traces(settings.traces, role=role):
        code = asyncio.run(run_role(role, settings))
    raise typer.Exit(code)
