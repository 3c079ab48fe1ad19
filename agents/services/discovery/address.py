"""Addresses behind which there are several endpoints. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from agents.services.discovery.endpoint import Endpoint, endpoint_of

_SCHEME = re.compile(r"((?P<finder>dns|srv|consul|nacos)\+)?(?P<transport>grpcs?|https?)")
_HOST = re.compile(r"(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?")
_PATH = re.compile(r"/[!-~]*")
_PORTS = {"http": 80, "https": 443}
_HOSTS_MAX = 100

SEPARATOR = "|"
"""Between the hosts of a list. A comma separates services in one of the settings."""


class Finder(StrEnum):
    """Who knows the endpoints."""

    LIST = "list"
    DNS = "dns"
    SRV = "srv"
    CONSUL = "consul"
    NACOS = "nacos"


# In Consul `tag.name`, as in its DNS; in Nacos `group@@name`, as in its clients.
_NAMES = {
    Finder.SRV: re.compile(r"(?P<within>)(?P<name>[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)\.?"),
    Finder.CONSUL: re.compile(r"((?P<within>[A-Za-z0-9_-]+)\.)?(?P<name>[A-Za-z0-9_-]+)"),
    Finder.NACOS: re.compile(r"((?P<within>[A-Za-z0-9_.-]+)@@)?(?P<name>[A-Za-z0-9_.-]+)"),
}
_NAME_FORMS = {
    Finder.SRV: "_SERVICE._PROTOCOL.NAME, without a port",
    Finder.CONSUL: "NAME or TAG.NAME",
    Finder.NACOS: "NAME or GROUP@@NAME",
}
_NAME_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedAddress:
    """The address of a service with several endpoints."""

    finder: Finder
    transport: str
    """``grpc``, ``grpcs``, ``http`` or ``https``."""
    hosts: tuple[Endpoint, ...] = ()
    """The endpoints of a list; the name and port to look up in DNS."""
    name: str = ""
    """In a registry: the name of the service; for SRV: the name of the records."""
    within: str = ""
    """In Consul: the tag that its instances must have; in Nacos: its group. May be empty."""
    path: str = ""
    """For HTTP: the path and query of each endpoint, with its slash."""

    def url(self, endpoint: Endpoint) -> str:
        """The URL of an endpoint; HTTP only."""
        return f"{self.transport}://{endpoint.authority}{self.path}"


def is_shared(address: str) -> bool:
    """Whether an address is meant for several endpoints; it may still be wrong."""
    scheme, _, rest = address.partition("://")
    prefix, plus, _ = scheme.partition("+")
    if plus and prefix in set(Finder):
        return True
    hosts = rest.partition("/")[0]
    return SEPARATOR in hosts and scheme in ("grpc", "grpcs", "http", "https")


def parse_shared(address: str) -> SharedAddress:
    """Read an address for several endpoints.

    Raises:
        ValueError: it has another form. The message does not quote it.
    """
    scheme, _, rest = address.partition("://")
    matched = _SCHEME.fullmatch(scheme)
    if matched is None:
        raise ValueError(
            "after dns+, srv+, consul+ or nacos+ it must have grpc(s):// or http(s)://"
        )
    finder, transport = Finder(matched["finder"] or "list"), matched["transport"]
    authority, slash, path = rest.partition("/")
    if slash and transport not in _PORTS:
        raise ValueError("an address for gRPC has no path")
    if slash and not _PATH.fullmatch(slash + path):
        raise ValueError("its path must be printable ASCII")
    if finder in _NAMES:
        name = _NAMES[finder].fullmatch(authority)
        if name is None or len(authority) > _NAME_MAX:
            raise ValueError(f"the name to look up must be {_NAME_FORMS[finder]}")
        return SharedAddress(
            finder=finder,
            transport=transport,
            name=name["name"],
            within=name["within"] or "",
            path=slash + path,
        )
    hosts = _hosts(finder, authority, transport)
    return SharedAddress(finder=finder, transport=transport, hosts=hosts, path=slash + path)


def _hosts(finder: Finder, authority: str, transport: str) -> tuple[Endpoint, ...]:
    hosts = tuple(_host(text, transport) for text in authority.split(SEPARATOR))
    if finder is Finder.DNS and len(hosts) > 1:
        raise ValueError("DNS looks up one name")
    if len(set(hosts)) < len(hosts):
        raise ValueError("it names a host twice")
    if len(hosts) > _HOSTS_MAX:
        raise ValueError(f"it may name at most {_HOSTS_MAX} hosts")
    return hosts


def _host(text: str, transport: str) -> Endpoint:
    matched = _HOST.fullmatch(text)
    if matched is None:
        raise ValueError("each host must be host:port")
    port = matched["port"] or _PORTS.get(transport)
    if port is None:
        raise ValueError("each host needs its port")
    return endpoint_of(matched["host"].strip("[]"), int(port))
