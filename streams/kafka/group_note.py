"""Notes that a member of a consumer group writes beside its offsets, for who asks about it. Pure.

An offset, and a note with it, stays when its writer stops: nobody removes it from a partition in
which nothing is committed any more. So a note carries its time, its writer writes it again and
again, and an old one says nothing.
"""

from __future__ import annotations

REWRITTEN_EVERY_S = 5.0
"""How often a note is written while it is true."""
_VALID_MS = 60_000
"""The age from which a note is ignored. It allows for the clocks of writer and reader to differ."""


def stamped(text: str, now_ms: int) -> str:
    """A note to be written now; empty for an empty text, which removes an earlier note."""
    return f"{now_ms} {text}" if text else ""


def text_of(note: str, now_ms: int) -> str:
    """The text of a note; empty if the note is too old, or was not made by :func:`stamped`."""
    at, _, text = note.partition(" ")
    if not (at.isascii() and at.isdigit() and len(at) <= len(str(2**63))):
        return ""
    return text if now_ms - int(at) < _VALID_MS else ""
