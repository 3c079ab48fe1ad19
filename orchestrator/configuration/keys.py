"""The keys of the configuration file: each stands for one variable, or for two. Pure."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Any, get_args, get_type_hints

from orchestrator.settings import PREFIX, Settings

Path = tuple[str, ...]

_SECTIONS: Mapping[str, Path] = MappingProxyType(
    {
        "kafka": ("data", "kafka"),
        "postgres": ("data", "database"),
        "api": ("server",),
        "api_tls": ("server", "tls"),
        "api_limits": ("server", "limits"),
        "api_client": ("client",),
        "traces": ("trace",),
    }
)
"""Groups of settings whose section is not their name."""

_RENAMED: Mapping[str, Path] = MappingProxyType(
    {
        "ORCH_POSTGRES_DSN": ("data", "database", "source"),
        "ORCH_API_WAIT_DEFAULT_S": ("server", "http", "timeout"),
        "ORCH_API_WAIT_MAX_S": ("server", "grpc", "timeout"),
    }
)
ADDRESSES: Mapping[Path, tuple[str, str]] = MappingProxyType(
    {
        ("server", "http", "addr"): ("ORCH_API_HOST", "ORCH_API_HTTP_PORT"),
        ("server", "grpc", "addr"): ("ORCH_API_HOST", "ORCH_API_GRPC_PORT"),
    }
)
"""Keys that hold ``HOST:PORT``, with the variables of the two."""

DRIVER: Path = ("data", "database", "driver")
"""The one key without a variable: it must be ``postgres``."""

SERVICES: Path = ("services",)
"""The one section with keys of the installation's own: the addresses of its services."""

EXTRA_SERVICES = "ORCH_SERVICES_EXTRA"


_PATHS_AS_TEXT = ("ORCH_EMBEDDED_CACHE_DIR",)
_NAMED_PATHS = tuple(f"ORCH_SERVICES_{name}_FILES" for name in ("CA", "CERTIFICATE", "KEY"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigKey:
    """One key, which stands for one variable."""

    path: Path
    variable: str
    kind: Any
    """The type of the setting."""
    secret: bool
    """True: the value is never printed, and may be ``file:PATH``."""

    @property
    def is_path(self) -> bool:
        """Whether the value is the path of a file or of a folder."""
        return FilePath in (self.kind, *get_args(self.kind)) or self.variable in _PATHS_AS_TEXT

    @property
    def holds_paths(self) -> bool:
        """Whether the value is ``name=path`` once or several times, with commas between."""
        return self.variable in _NAMED_PATHS

    @property
    def seconds(self) -> float | None:
        """What a number of this setting means, in seconds; None if it is not a time."""
        if self.variable.endswith("_MS"):
            return 0.001
        if self.variable.endswith("_PER_S"):
            return None
        return 1.0 if self.variable.endswith("_S") else None


@cache
def keys() -> Mapping[Path, ConfigKey]:
    """All keys by their paths, except for :data:`ADDRESSES` and :data:`DRIVER`."""
    hints = get_type_hints(Settings)
    part_of_address = {name for names in ADDRESSES.values() for name in names}
    found: dict[Path, ConfigKey] = {}
    for room in fields(Settings):
        kinds = get_type_hints(hints[room.name])
        for item in fields(hints[room.name]):
            variable = f"{PREFIX}{room.name}_{item.name}".upper()
            section = _SECTIONS.get(room.name, (room.name,))
            path = _RENAMED.get(variable, (*section, item.name))
            if variable not in part_of_address:
                found[path] = ConfigKey(
                    path=path, variable=variable, kind=kinds[item.name], secret=not item.repr
                )
    return MappingProxyType(found)


def default_of(variable: str) -> Any:
    """The value of a setting that is not set; None for an empty one."""
    for room, kind in get_type_hints(Settings).items():
        for item in fields(kind):
            if f"{PREFIX}{room}_{item.name}".upper() == variable:
                return None if item.default in (MISSING, "") else item.default
    raise KeyError(variable)
