"""All that a caller can ask for, whatever the transport."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.api.access import Access
from orchestrator.api.commanding import Commanding
from orchestrator.api.creating import Creating
from orchestrator.api.parts import Parts
from orchestrator.api.reading import Reading
from orchestrator.api.telling import Telling
from orchestrator.api.watching import Watching


@dataclass(frozen=True, slots=True)
class UseCases:
    """The one layer between the transports and the rest."""

    access: Access
    reading: Reading
    telling: Telling
    creating: Creating
    commanding: Commanding
    watching: Watching

    @classmethod
    def of(cls, access: Access, parts: Parts) -> UseCases:
        """Build them on their parts."""
        reading = Reading(parts)
        return cls(
            access=access,
            reading=reading,
            telling=Telling(parts, reading),
            creating=Creating(parts, reading),
            commanding=Commanding(parts, reading),
            watching=Watching(parts, reading),
        )
