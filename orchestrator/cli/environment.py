"""The settings of a command: its variables, and those of a running ``orchestrator dev``."""

import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from orchestrator.cli.output import print_note
from orchestrator.configuration.load import process_settings, process_variables
from orchestrator.running.file import FoundSystem, find_running, places
from orchestrator.running.record import RunningSystem, found_variables, names_another
from orchestrator.settings import Settings
from schemas.errors import SettingsError

START_ONE = "start one with `make run` (`orchestrator dev`)"
"""What a user does who has no system: part of each error about a missing address."""

_said: set[str] = set()
"""Lines that this process has written: a command may load its settings more than once."""


def command_settings(*, find: bool = True) -> Settings:
    """The settings of this command.

    Variables that the environment does not set are taken from the system that ``orchestrator dev``
    runs; a line on standard error reports this. ``ORCH_DEV_FIND=false`` turns it off.

    Args:
        find: False for a command whose options name the server.

    Raises:
        SettingsError: a variable is unknown or wrong.
    """
    settings = process_settings(os.environ)
    if not (find and settings.dev.find):
        return settings
    found, given = running_system(), process_variables(os.environ)
    taken = {} if found.system is None else found_variables(given, found.system)
    _say(found.ignored)
    if found.system is not None and names_another(given, found.system):
        folder = shown_folder(found.system.folder)
        _say([f"the system in {folder} is not used: a variable names another server"])
    if found.system is None or not taken:
        return settings
    _say([_using(found.system)])
    return process_settings(os.environ, taken)


def not_set(*variables: str) -> SettingsError:
    """The error of a command whose servers no variable and no running system names."""
    return SettingsError(
        f"{' and '.join(variables)} {'is' if len(variables) == 1 else 'are'} not set, and no "
        f"running system was found: {START_ONE}, or set "
        f"{'the variable' if len(variables) == 1 else 'the variables'}"
    )


def no_system() -> SettingsError:
    """The error of a command that needs one of the servers."""
    return not_set("ORCH_KAFKA_BOOTSTRAP", "ORCH_POSTGRES_DSN")


def running_system() -> FoundSystem:
    """The running system that is nearest to the current folder."""
    return find_running(places(os.environ, _current_folder(), Path(sys.prefix)))


def _current_folder() -> Path:
    """The current folder; the root if the current folder was deleted."""
    try:
        return Path.cwd()
    except OSError:
        return Path("/")


def shown_folder(path: str) -> str:
    """A path relative to the current folder if it is below; absolute otherwise, and from ``/``."""
    here = _current_folder()
    relative = os.path.relpath(path, here)
    at_root = here == Path(here.anchor)
    return path if at_root or relative.startswith("..") else relative


def _using(system: RunningSystem) -> str:
    at = datetime.fromisoformat(system.started_at).strftime("%H:%M")
    return f"using the system in {shown_folder(system.folder)} (started {at}, pid {system.pid})"


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        if line not in _said:
            _said.add(line)
            print_note(line)
