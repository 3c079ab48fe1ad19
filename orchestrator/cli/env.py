"""``orchestrator env``: the variables of the running system, for other programs."""

import json
import os
import shlex
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import typer

from orchestrator.cli.environment import command_settings, no_system, running_system
from orchestrator.running.record import found_variables, shared_variables
from schemas.errors import SettingsError


class Format(StrEnum):
    """The formats in which variables are printed."""

    SHELL = "shell"
    DOTENV = "dotenv"
    COMPOSE = "compose"


def env(
    format_: Annotated[
        Format,
        typer.Option(
            "--format", help="shell: export lines; dotenv: a .env file; compose: a mapping."
        ),
    ] = Format.SHELL,
) -> None:
    """Print the ORCH_* variables of the system that `orchestrator dev` runs. Shows the password.

    Variables that are set already are printed as they are set. Addresses are those of this
    machine: a container needs `network_mode: host` to reach them.

    eval "$(orchestrator env)" sets them in a shell. Exit status: 0 printed, 1 no system runs here
    and no variable is set (SETTINGS_INVALID).
    """
    settings = command_settings()
    found = running_system() if settings.dev.find else None
    system = None if found is None else found.system
    variables = shared_variables(os.environ)
    if system is not None:
        variables = dict(sorted((found_variables(os.environ, system) | variables).items()))
    if not variables:
        raise no_system()
    print(rendered(variables, format_))


def rendered(variables: Mapping[str, str], format_: Format) -> str:
    """The variables as text, one a line."""
    if format_ is Format.SHELL:
        lines = [f"export {name}={_for_shell(value)}" for name, value in variables.items()]
    elif format_ is Format.DOTENV:
        lines = [f"{name}={_quoted(name, value)}" for name, value in variables.items()]
    else:
        # JSON strings are YAML strings; a dollar would be the begin of Compose's own variable.
        lines = ["environment:"]
        lines += [
            f"  {name}: {json.dumps(value.replace('$', '$$'))}" for name, value in variables.items()
        ]
    return "\n".join(lines)


def _for_shell(value: str) -> str:
    """A word of a shell; characters that a terminal acts on are written as octal numbers."""
    if value.isprintable():
        return shlex.quote(value)
    octal = "".join(f"\\{byte:03o}" for byte in os.fsencode(value))
    return f"\"$(printf '{octal}')\""


def _quoted(name: str, value: str) -> str:
    """A value of a dotenv file: single quotes keep everything but a single quote as it is."""
    if not value.isprintable():
        raise SettingsError(f"{name} has a character that a .env file cannot hold")
    if "'" not in value:
        return f"'{value}'"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'
