"""From an address to the source of its endpoints."""

from __future__ import annotations

from agents.services.discovery.address import SharedAddress
from agents.services.discovery.endpoint import EndpointSource
from agents.services.discovery.static_list import StaticEndpoints


def source_of(address: SharedAddress) -> EndpointSource:
    """The source that an address names."""
    return StaticEndpoints(address.hosts)
