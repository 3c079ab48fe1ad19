"""What a worker says beside its offsets about commands that wait, and how others read it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from agents.steps.gate.admission import Hold


def note_of(holds: Iterable[tuple[str, Hold]]) -> str:
    """The note about services whose commands are held back; empty: none is.

    Args:
        holds: each service, with why its commands wait.
    """
    return "; ".join(f"{hold} {service}" for service, hold in holds)


def holds_of(note: str, service: str) -> list[Hold]:
    """Why commands of a service wait, as a note says it.

    A worker of another release may have written it: what is not known is passed over.
    """
    found = []
    for part in note.split("; "):
        word, _, name = part.partition(" ")
        if name == service and word in Hold.__members__:
            found.append(Hold(word))
    return found
