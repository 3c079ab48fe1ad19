"""How each service is reached beside its address: whom to trust, and what we show it.

The settings are lists, ``service.header=value`` or ``service=file`` each, separated by commas.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agents.services.discovery.address import is_shared
from agents.services.models.address import base_of
from agents.services.sending import is_allowed_name, is_sendable
from streams.tls import ClientTls

SERVICE_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")

EVERY = "*"
"""Stands for every service with a secure address, in the settings that name files."""

_FORMS = {"headers": "service.header=value", "health": "service=grpc or service=/path"}
_PATH = re.compile(r"/[!-~]*")
_SECURE = ("grpcs", "https")
_FROM_FILE = re.compile(r"(?P<before>[A-Za-z][A-Za-z0-9-]* )?file:(?P<path>.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderSource:
    """Where the value of one header comes from."""

    name: str
    """In lower case."""
    value: str = field(default="", repr=False)
    """The value; with a file, the text before its line."""
    file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccess:
    """What is given for one service."""

    files: ClientTls = field(default_factory=ClientTls)
    headers: tuple[HeaderSource, ...] = ()
    health: str | None = None
    """How its instances are asked whether they are well: ``grpc``, or the path of a GET. None: they
    are not asked."""


def field_of(service: str) -> str:
    """The setting of a service: its name without ``-service``, with ``_`` for ``-``."""
    return service.removesuffix("-service").replace("-", "_")


def is_secure(scheme: str) -> bool:
    """True if connections of this scheme use TLS: ``grpcs``, ``https``, ``dns+grpcs``, …"""
    return scheme.rpartition("+")[2] in _SECURE


def read_access(given: Mapping[str, str], addresses: Mapping[str, str]) -> dict[str, ServiceAccess]:
    """What is given for each service, by the name of its setting. Opens no file.

    Args:
        given: the five lists, by the names of their settings.
        addresses: the address of each service, by the name of its setting.

    Raises:
        ValueError: an entry is wrong, names an unknown service, or contradicts the address. The
            first word is the name of the setting; values of headers are not quoted.
    """
    files = {
        name: dict(_entries(name, given[name], _service_reader(name, addresses)))
        for name in ("ca_files", "certificate_files", "key_files")
    }
    headers = _headers(given["headers"], addresses)
    health = _health(given["health"], addresses)
    found = {}
    for service, address in addresses.items():
        secure = is_secure(address.partition("://")[0])
        for name, by_service in files.items():
            if service in by_service and not secure:
                raise ValueError(f"{name} names {service}, whose address is without TLS")
        chosen = {
            name: by_service.get(service) or by_service.get(EVERY) if secure else None
            for name, by_service in files.items()
        }
        if chosen["key_files"] and not chosen["certificate_files"]:
            raise ValueError(f"key_files names a key for {service}, which has no certificate")
        found[service] = ServiceAccess(
            files=ClientTls(
                ca_file=_path(chosen["ca_files"]),
                certificate_file=_path(chosen["certificate_files"]),
                key_file=_path(chosen["key_files"]),
            ),
            headers=tuple(headers.get(service, {}).values()),
            health=health.get(service),
        )
    return found


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _entries(
    setting: str, text: str, key_of: Callable[[str], str | None]
) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for entry in filter(None, map(str.strip, text.split(","))):
        name, _, value = entry.partition("=")
        key = key_of(name.strip())
        if key is None or not value.strip():
            # The entry may be the second half of a secret with a comma: it is not quoted.
            form = _FORMS.get(setting, "service=file")
            raise ValueError(f"{setting} has an entry that is not {form}")
        if key in seen:
            raise ValueError(f"{setting} names {key} twice")
        seen.add(key)
        yield key, value.strip()


def _service_reader(setting: str, addresses: Mapping[str, str]) -> Callable[[str], str | None]:
    def key_of(name: str) -> str | None:
        return name if name == EVERY else _service(setting, name, addresses)

    return key_of


def _service(setting: str, name: str, addresses: Mapping[str, str]) -> str | None:
    if not SERVICE_NAME.fullmatch(name):
        return None
    if field_of(name) not in addresses:
        raise ValueError(f"{setting} names {name}, which has no address")
    return field_of(name)


def _headers(text: str, addresses: Mapping[str, str]) -> dict[str, dict[str, HeaderSource]]:
    def key_of(name: str) -> str | None:
        service, dot, header = name.partition(".")
        known = _service("headers", service, addresses) if dot else None
        return f"{known}.{header.lower()}" if known else None

    found: dict[str, dict[str, HeaderSource]] = {}
    for key, value in _entries("headers", text, key_of):
        service, _, header = key.partition(".")
        if not is_allowed_name(header):
            raise ValueError(
                f"headers gives {service} a header that cannot be set: its name is wrong, or the "
                "header is one of the connection or of ours"
            )
        if addresses[service].startswith("python://"):
            raise ValueError(f"headers names {service}, which is a function")
        found.setdefault(service, {})[header] = _source(service, header, value)
    return found


def _health(text: str, addresses: Mapping[str, str]) -> dict[str, str]:
    found = dict(_entries("health", text, lambda name: _service("health", name, addresses)))
    for service, way in found.items():
        scheme = addresses[service].partition("://")[0].rpartition("+")[2]
        if not is_shared(base_of(addresses[service])):
            raise ValueError(f"health names {service}, whose address is that of one instance")
        if way != "grpc" and not _PATH.fullmatch(way):
            raise ValueError(f"health has an entry that is not {_FORMS['health']}")
        if (way == "grpc") != scheme.startswith("grpc"):
            raise ValueError(f"health asks {service} in another way than its address is called")
    return found


def _source(service: str, header: str, value: str) -> HeaderSource:
    matched = _FROM_FILE.fullmatch(value)
    if matched:
        return HeaderSource(name=header, value=matched["before"] or "", file=Path(matched["path"]))
    if not is_sendable(value):
        raise ValueError(f"headers gives {service}.{header} a value that is not printable ASCII")
    return HeaderSource(name=header, value=value)
