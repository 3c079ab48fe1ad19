"""The settings of a process: the environment over the configuration file over the defaults."""

from collections.abc import Mapping

from orchestrator.configuration.file import ConfigFile, config_path, read_config_file
from orchestrator.settings import Settings, load_settings

CONFIG = "ORCH_CONFIG"
"""Names the configuration file; it is not a setting."""


def process_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """All variables that are set: those of the file that ``ORCH_CONFIG`` names, overridden.

    Raises as :func:`process_settings`.
    """
    return _read(environment)[0]


def process_settings(
    environment: Mapping[str, str], defaults: Mapping[str, str] | None = None
) -> Settings:
    """The settings of a process.

    Args:
        environment: usually ``os.environ``; ``ORCH_CONFIG`` names the file.
        defaults: variables with other defaults for this call, below the file.

    Raises:
        SettingsError: a variable or a key is unknown or wrong. The message names it, and for a key
            its file and line. The process must not start.
    """
    variables, file = _read(environment)
    return load_settings(variables, defaults, places=file.places)


def _read(environment: Mapping[str, str]) -> tuple[dict[str, str], ConfigFile]:
    path = config_path(environment)
    file = ConfigFile() if path is None else read_config_file(path, environment)
    given = {name: value for name, value in environment.items() if name != CONFIG}
    for name in given:
        file.places.pop(name, None)
    return {**file.variables, **given}, file
