"""What a registry is told about one address of a replica."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

BEAT_S = 5.0
"""Between two signs of life."""

EXPIRES_S = 15
"""A registry takes an instance out that gave no sign of life for this time."""

FORGOTTEN_S = 60
"""Consul forgets one after this time; Nacos has a setting of its own."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One address of a replica."""

    name: str
    """Of the service."""
    host: str
    port: int

    @property
    def id(self) -> str:
        """Of the instance; unique in the registry."""
        return f"{self.name}-{self.host}-{self.port}"


class Registry(Protocol):
    """Where instances are told. All methods raise ``DiscoveryError``."""

    async def register(self, entry: Entry) -> None:
        """Add an instance, or replace the one with its id."""

    async def beat(self, entry: Entry) -> None:
        """Say that it still lives; an instance that the registry has lost may be refused."""

    async def leave(self, entry: Entry) -> None:
        """Take it out."""
