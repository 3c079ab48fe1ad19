"""``orchestrator config``: the configuration file, and what is in force."""

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from orchestrator.cli.output import Output, OutputOption, print_json, print_line, print_text
from orchestrator.configuration.check import check_whole
from orchestrator.configuration.file import config_path, read_config_file
from orchestrator.configuration.keys import default_of, keys
from orchestrator.configuration.load import CONFIG, process_settings, process_variables
from orchestrator.configuration.schema import config_schema
from orchestrator.settings import PREFIX
from schemas.errors import SettingsError

app = typer.Typer(help="The configuration file, and what is in force.", no_args_is_help=True)

_MASKED = "********"


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(help="The file; without it, that of --config or ORCH_CONFIG.")
    ] = None,
) -> None:
    """Check a configuration file together with the variables of this shell.

    Exit 1 with the file and the line of the first mistake. No server is asked, and a file that is
    not on this machine is a note: other processes may have it.
    """
    path = file or config_path(os.environ)
    if path is None:
        raise SettingsError(f"no file: give one, or set {CONFIG}")
    found = read_config_file(path, os.environ)
    settings = process_settings({**os.environ, CONFIG: str(path)})
    notes = check_whole(settings, found.places)
    overridden = sorted(name for name in found.variables if name in os.environ)
    print_line(f"{path}: {len(found.variables)} settings, all right")
    for name in overridden:
        print_line(f"overridden by the environment: {name}")
    for note in notes:
        print_line(note)


@app.command()
def show(output: OutputOption = Output.TABLE) -> None:
    """Print what is in force: the environment over the file over the defaults.

    One line for each key, with its variable and where its value comes from. Secrets are masked.
    """
    path = config_path(os.environ)
    file = {} if path is None else read_config_file(path, os.environ).places
    process_settings(os.environ)
    given = process_variables(os.environ)
    rows = [_row(*one, given, file) for one in _variables()]
    if output is Output.JSON:
        print_json(rows)
        return
    for row in rows:
        value = json.dumps(row["value"], ensure_ascii=True)
        print_line(f"{row['key']}: {value}  # {row['variable']}, {row['from']}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of the file, for editors."""
    print_text(json.dumps(config_schema(), indent=2))


def _variables() -> list[tuple[str, bool, Any]]:
    """Each variable, whether it is a secret, and the type of its setting."""
    addresses = {"HOST": str, "HTTP_PORT": int, "GRPC_PORT": int}
    return [(key.variable, key.secret, key.kind) for key in keys().values()] + [
        (f"{PREFIX}API_{name}", False, kind) for name, kind in addresses.items()
    ]


def _row(
    variable: str, secret: bool, kind: Any, given: dict[str, str], file: dict[str, str]
) -> dict[str, Any]:
    value: Any = given.get(variable, default_of(variable))
    if secret and value:
        value = _MASKED
    elif variable in given:
        value = _typed(given[variable], kind)
    source = "default"
    if variable in given:
        source = "environment" if variable in os.environ else file.get(variable, "file")
    path = next((".".join(p) for p, key in keys().items() if key.variable == variable), "")
    shown = value if isinstance(value, str | int | float | bool | None) else str(value)
    return {"key": path or variable, "value": shown, "variable": variable, "from": source}


def _typed(text: str, kind: Any) -> Any:
    """A number or a truth value as such: it is shown as a default of its setting would be."""
    kinds = {kind, *get_args(kind)}
    if bool in kinds:
        return text.lower() in ("true", "1")
    is_number = kinds & {int, float} and _NUMBER.fullmatch(text)
    return json.loads(text) if is_number else text


_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
