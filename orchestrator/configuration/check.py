"""Mistakes of a configuration that not every process meets at its start. No server is asked.

A process checks what it uses itself. This checks the whole of it, for every process that may have
the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from agents.services.access import field_of
from agents.services.address import parsed_address
from orchestrator.pipelines import installed_pipelines
from orchestrator.settings import PREFIX, Settings
from schemas.errors import SettingsError

_DSN_SCHEMES = ("postgresql", "postgres")


def check_whole(settings: Settings, places: Mapping[str, str]) -> list[str]:
    """Check what no process checks alone.

    Args:
        settings: of the system.
        places: where variables were set, for errors, if not in the environment.

    Returns:
        A sentence for each file or folder that is not on this machine: it may be on others.

    Raises:
        SettingsError: a service has an address that no client takes, or has none; an address of
            Postgres is not a URI; two ports are one.
        PipelineFileError: a pipeline is wrong.
    """
    for variable, problem in _problems(settings):
        place = places.get(variable)
        raise SettingsError(problem if place is None else f"{place}: {problem}")
    return list(_not_here(settings))


def _problems(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each variable that is wrong, and why."""
    yield from _of_services(settings)
    for name in ("dsn", "reader_dsn"):
        dsn, variable = getattr(settings.postgres, name), f"{PREFIX}POSTGRES_{name.upper()}"
        if dsn and not _is_uri(dsn):
            # It may hold a password.
            yield variable, f"{variable} is not a URI of a database (postgresql://host/database)"
    metrics = settings.metrics.port if settings.metrics.enabled else 0
    for name in ("HTTP_PORT", "GRPC_PORT"):
        if metrics and metrics == getattr(settings.api, name.lower()):
            variable = f"{PREFIX}METRICS_PORT"
            yield variable, f"{variable} is {metrics}, as {PREFIX}API_{name}; each needs its own"


def _of_services(settings: Settings) -> Iterator[tuple[str, str]]:
    addresses, extra = settings.services.addresses(), settings.services.extra_addresses()
    for name, address in addresses.items():
        variable = f"{PREFIX}SERVICES_" + ("EXTRA" if name in extra else name.upper())
        try:
            parsed_address(variable, address)
        except SettingsError as error:
            yield variable, str(error)
    if settings.pipelines.dir is not None and not settings.pipelines.dir.exists():
        return
    for service in sorted(installed_pipelines(settings.pipelines).called_services):
        if field_of(service) not in addresses:
            variable = f"{PREFIX}SERVICES_EXTRA"
            yield variable, f"a pipeline calls {service!r}, which has no address ({variable})"


def _is_uri(dsn: str) -> bool:
    try:
        parts = urlsplit(dsn)
        return parts.scheme in _DSN_SCHEMES and parts.port != 0
    except ValueError:
        return False


def _not_here(settings: Settings) -> Iterator[str]:
    paths = {
        f"{PREFIX}PIPELINES_DIR": settings.pipelines.dir,
        f"{PREFIX}API_KEYS_FILE": settings.api.keys_file,
        **{
            f"{PREFIX}{room}_{name}".upper(): getattr(getattr(settings, room), name)
            for room in ("kafka", "api_tls")
            for name in (
                "password_file",
                "ca_file",
                "certificate_file",
                "key_file",
                "client_ca_file",
            )
            if hasattr(getattr(settings, room), name)
        },
    }
    for variable, path in paths.items():
        if path is not None and not path.exists():
            yield f"{variable}: {path} is not on this machine"
