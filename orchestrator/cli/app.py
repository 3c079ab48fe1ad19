"""The command line. Errors of ours are one line with a stable code, and exit status 1.

Each command is imported when it is asked for: the roles bring in Faust, which takes seconds
to import, and whoever lists dead letters at night waits for every one of them.
"""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from schemas.errors import OrchestratorError

_COMMANDS = {
    "dev": "dev:dev",
    "serve": "serve:serve",
    "worker": "worker:worker",
    "demo-services": "worker:demo_services",
    "tail": "tail:tail",
    "usage": "usage:usage",
    "task": "task:app",
    "topics": "topics:app",
    "pipelines": "pipelines:app",
    "migrate": "migrate:app",
    "sink": "sink:app",
    "keys": "keys:app",
    "dlq": "dlq:app",
}
"""Where each command is: a module beside this one, and a function or a group in it."""
_HIDDEN = {"demo-services"}


class _Commands(TyperGroup):
    """Finds commands by name, and imports what it found."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        return _command(cmd_name, getattr(import_module(f"orchestrator.cli.{module}"), name))


def _command(name: str, found: typer.Typer | Callable[..., None]) -> Any:
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(name, hidden=name in _HIDDEN)(found)
        found = alone
    command = typer.main.get_command(found)
    command.name = name
    return command


app = typer.Typer(
    name="orchestrator",
    cls=_Commands,
    help="Runs AI tasks through their pipelines, on Kafka. Settings are ORCH_* variables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _orchestrator() -> None:
    # Without it Typer takes an application without registered commands for a mistake.
    pass


def run() -> None:
    """Run the command of ``sys.argv``."""
    try:
        app()
    except OrchestratorError as error:
        print(f"error {error.code}: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our output (head, grep -q) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
