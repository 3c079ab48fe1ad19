"""The command line. Errors of ours are one line with a stable code, and exit status 1."""

import os
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from schemas.errors import OrchestratorError

# Each is a module of this package, with a command or a group of commands of that name in it.
_COMMANDS = (
    "dev",
    "status",
    "env",
    "serve",
    "worker",
    "task",
    "tail",
    "usage",
    "doctor",
    "topics",
    "pipelines",
    "migrate",
    "sink",
    "keys",
    "dlq",
)
_HIDDEN = {"demo-services": ("worker", "demo_services")}


class _OnDemand(TyperGroup):
    """Imports a command when it is asked for: all of them together take seconds."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in _HIDDEN:
            return _command(cmd_name, *_HIDDEN[cmd_name])
        return _command(cmd_name, cmd_name, cmd_name) if cmd_name in _COMMANDS else None


def _command(name: str, module_name: str, function: str) -> Any:
    module = import_module(f"orchestrator.cli.{module_name}")
    if hasattr(module, "app"):
        group = typer.main.get_group(module.app)
        group.name = name
        return group
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command(name)(getattr(module, function))
    return typer.main.get_command(alone)


app = typer.Typer(
    name="orchestrator",
    help="Runs AI tasks through their pipelines, on Kafka. Settings are ORCH_* variables.",
    cls=_OnDemand,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"orchestrator {version('ai-orchestrator')}")
        raise typer.Exit


@app.callback()
def _before(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None: ...


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
