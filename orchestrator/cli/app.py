"""The command line. Errors of ours are one line with a stable code, and exit status 1."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from typer._click.exceptions import ClickException  # not a part of typer's own namespace
from typer.core import TyperGroup

from orchestrator.cli.standard_streams import discard_output, prepare_streams
from schemas.errors import OrchestratorError
from schemas.printable import printable

# By command: the location of its function, or of its group of commands.
_COMMANDS = {
    "dev": "orchestrator.cli.dev:dev",
    "status": "orchestrator.cli.status:status",
    "env": "orchestrator.cli.env:env",
    "serve": "orchestrator.cli.serve:serve",
    "worker": "orchestrator.cli.worker:worker",
    "task": "orchestrator.cli.task.app:app",
    "tail": "orchestrator.cli.tail.command:tail",
    "usage": "orchestrator.cli.usage:usage",
    "doctor": "orchestrator.cli.doctor:doctor",
    "topics": "orchestrator.cli.topics.app:app",
    "pipelines": "orchestrator.cli.pipelines:app",
    "migrate": "orchestrator.cli.migrate:app",
    "sink": "orchestrator.cli.sink:app",
    "config": "orchestrator.cli.config:app",
    "keys": "orchestrator.cli.keys:app",
    "dlq": "orchestrator.cli.dlq.app:app",
}
_CONFIG = "ORCH_CONFIG"
"""As in ``orchestrator.configuration.load``, whose import would slow down every command."""
_MARKUP: Literal["markdown"] = "markdown"
"""Paragraphs of a help text are wrapped anew for the terminal, not at the source's lines."""
_NOT_WRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""Errors of a write to standard output, or to a file that a command writes."""
_HIDDEN = {"demo-services": "orchestrator.local.demo.command:demo_services"}


class _OnDemand(TyperGroup):
    """Imports a command when it is needed: importing all of them takes seconds."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        place = (_COMMANDS | _HIDDEN).get(cmd_name)
        return None if place is None else _command(cmd_name, place)

    def make_context(self, *args: Any, **given: Any) -> Any:
        with _printable_errors():
            return super().make_context(*args, **given)

    def invoke(self, ctx: Any) -> Any:
        with _printable_errors():
            return super().invoke(ctx)


@contextmanager
def _printable_errors() -> Iterator[None]:
    """Make what a wrong argument's error quotes safe to print: Typer prints it as it is."""
    try:
        yield
    except ClickException as error:
        error.message = printable(error.message)
        raise


def _command(name: str, place: str) -> Any:
    module, _, attribute = place.partition(":")
    found = getattr(import_module(module), attribute)
    if isinstance(found, typer.Typer):
        found.rich_markup_mode = _MARKUP
        group = typer.main.get_group(found)
        group.name = name
        return group
    alone = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=_MARKUP
    )
    alone.command(name)(found)
    return typer.main.get_command(alone)


app = typer.Typer(
    name="orchestrator",
    help="Runs AI tasks through their pipelines, on Kafka. Settings are ORCH_* variables, or a "
    "configuration file.",
    cls=_OnDemand,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=_MARKUP,
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
    config: Annotated[
        Path | None,
        typer.Option("--config", help="The configuration file (or the variable ORCH_CONFIG)."),
    ] = None,
) -> None:
    if config is not None:
        # The processes that `dev` starts read it, too.
        os.environ[_CONFIG] = str(config.absolute())


def run() -> None:
    """Run the command of ``sys.argv``."""
    prepare_streams()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except OrchestratorError as error:
        _end_with(error.code, str(error))
    except BrokenPipeError:
        # The reader of our output (head, grep -q) has closed the pipe.
        discard_output()
        sys.exit(0)
    except OSError as error:
        if error.filename is not None or error.errno not in _NOT_WRITTEN:
            raise
        discard_output()
        _end_with("OUTPUT_NOT_WRITTEN", os.strerror(error.errno))


def _end_with(code: str, message: str) -> NoReturn:
    with suppress(OSError):  # standard error may be full, too
        print(printable(f"error {code}: {message}"), file=sys.stderr)
    sys.exit(1)
