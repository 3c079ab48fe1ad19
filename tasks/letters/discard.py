"""Gives letters up; they stay in their topic until it expires. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.records import DeadLetterAction, DeadLetterActionKind, DeadLetterItem
from tasks.letters.author import Author
from tasks.letters.filter import LetterFilter
from tasks.letters.known import KnownLetter
from tasks.letters.ledger import LetterStatus
from tasks.letters.parts import in_parts

_ITEMS_MAX = 500


def can_be_discarded(known: KnownLetter) -> bool:
    """False for a letter that is settled."""
    return known.status not in (LetterStatus.RESOLVED, LetterStatus.DISCARDED)


def discarded(
    known_letters: Sequence[KnownLetter], chosen: LetterFilter, author: Author
) -> list[DeadLetterAction]:
    """The records that give letters up once they are appended to the ledger."""
    items = [DeadLetterItem(letter_id=known.letter.id) for known in known_letters]
    return [
        DeadLetterAction(
            action_id=author.new_id(),
            kind=DeadLetterActionKind.DISCARDED,
            actor=author.actor,
            reason=author.reason,
            filter=chosen.as_json(),
            counts={"discarded": len(part)},
            items=list(part),
            at=author.clock(),
        )
        for part in in_parts(items, _ITEMS_MAX)
    ]
