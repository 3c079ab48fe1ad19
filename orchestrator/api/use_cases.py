"""All that a caller can ask for, whatever the transport."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.api.access import Access
from orchestrator.api.letters.acting import LetterActing
from orchestrator.api.letters.desk import LetterDesk
from orchestrator.api.letters.reading import LetterReading
from orchestrator.api.letters.replaying import LetterReplaying
from orchestrator.api.replica.parts import Parts
from orchestrator.api.tasks.commanding import Commanding
from orchestrator.api.tasks.creating import Creating
from orchestrator.api.tasks.reading import Reading
from orchestrator.api.tasks.telling import Telling
from orchestrator.api.tasks.watching import Watching


@dataclass(frozen=True, slots=True)
class UseCases:
    """The one layer between the transports and the rest."""

    access: Access
    reading: Reading
    telling: Telling
    creating: Creating
    commanding: Commanding
    watching: Watching
    letters: LetterReading
    acting_on_letters: LetterActing
    replaying_letters: LetterReplaying

    @classmethod
    def of(cls, access: Access, parts: Parts) -> UseCases:
        """Build them on their parts."""
        reading, desk = Reading(parts), LetterDesk(parts)
        return cls(
            access=access,
            reading=reading,
            telling=Telling(parts, reading),
            creating=Creating(parts, reading),
            commanding=Commanding(parts, reading),
            watching=Watching(parts, reading),
            letters=LetterReading(parts, desk),
            acting_on_letters=LetterActing(parts, desk),
            # A replay takes long: it must not keep those who only look waiting.
            replaying_letters=LetterReplaying(parts, LetterDesk(parts)),
        )
