"""From an address to the source of its endpoints."""

from __future__ import annotations

from agents.services.discovery.address import Finder, SharedAddress
from agents.services.discovery.consul import ConsulLookup
from agents.services.discovery.dns import DnsLookup
from agents.services.discovery.endpoint import EndpointSource
from agents.services.discovery.following import EndpointLookup, FollowedEndpoints
from agents.services.discovery.nacos import NacosLookup
from agents.services.discovery.registry_http import RegistryHttp
from agents.services.discovery.srv import SrvLookup
from agents.services.discovery.static_list import StaticEndpoints
from agents.services.service_tls import ServiceTls
from agents.services.settings import ServicesSettings
from schemas.errors import SettingsError
from streams.tls import ClientTls
from streams.watched_file import WatchedFile, secret_line


def source_of(
    address: SharedAddress, settings: ServicesSettings, *, service: str
) -> EndpointSource:
    """The source that an address names; asks nobody yet.

    Raises:
        SettingsError: a file that the registry needs cannot be used.
    """
    if address.finder is Finder.LIST:
        return StaticEndpoints(address.hosts)
    return FollowedEndpoints(_lookup(address, settings), service=service)


def _lookup(address: SharedAddress, settings: ServicesSettings) -> EndpointLookup:
    every_s = settings.discovery_every_s
    match address.finder:
        case Finder.SRV:
            return SrvLookup(address.name, every_s=every_s)
        case Finder.CONSUL:
            http = consul_of(settings)
            return ConsulLookup(http, address.name, tag=address.within)
        case Finder.NACOS:
            http = nacos_of(settings)
            return NacosLookup(
                http,
                address.name,
                group=address.within,
                namespace=settings.nacos_namespace,
                api=settings.nacos_api,
                every_s=every_s,
            )
        case _:
            (host,) = address.hosts
            return DnsLookup(host.host, host.port, every_s=every_s)


def consul_of(settings: ServicesSettings) -> RegistryHttp:
    """The Consul agent of the settings; SettingsError as :func:`source_of`."""
    return _registry(settings, settings.consul_url, "consul_token_file", "x-consul-token")


def nacos_of(settings: ServicesSettings) -> RegistryHttp:
    """The Nacos of the settings; SettingsError as :func:`source_of`."""
    return _registry(settings, settings.nacos_url, "nacos_token_file", "authorization")


def _registry(
    settings: ServicesSettings, url: str, token_setting: str, token_header: str
) -> RegistryHttp:
    token_file, ca_file = getattr(settings, token_setting), settings.registry_ca_file
    variable = f"ORCH_SERVICES_{token_setting.upper()}"
    try:
        tls = ServiceTls(ClientTls(ca_file=ca_file)) if url.startswith("https://") else None
    except SettingsError as error:
        raise SettingsError(f"ORCH_SERVICES_REGISTRY_CA_FILE: {error}") from error
    return RegistryHttp(
        url.rstrip("/"),
        token=WatchedFile(token_file, secret_line, setting=variable) if token_file else None,
        token_header=token_header,
        tls=tls,
    )
