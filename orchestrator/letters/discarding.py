"""Gives letters up. They stay in their topic until it expires."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.records import DeadLetterAction, DeadLetterActionKind, DeadLetterItem
from streams.clock import now_ms
from streams.letters.action_log import new_id
from streams.letters.unsettled import chunks
from tasks.letters.filter import LetterFilter
from tasks.letters.known import KnownLetter
from tasks.letters.ledger import LetterStatus

_ITEMS_MAX = 500


def can_be_discarded(known: KnownLetter) -> bool:
    """False for a letter that is settled."""
    return known.status not in (LetterStatus.RESOLVED, LetterStatus.DISCARDED)


def discarded(
    known_letters: Sequence[KnownLetter], chosen: LetterFilter, *, actor: str, reason: str
) -> list[DeadLetterAction]:
    """The records that give letters up once they are appended to the ledger."""
    items = [DeadLetterItem(letter_id=known.letter.id) for known in known_letters]
    return [
        DeadLetterAction(
            action_id=new_id(),
            kind=DeadLetterActionKind.DISCARDED,
            actor=actor,
            reason=reason,
            filter=chosen.as_json(),
            counts={"discarded": len(part)},
            items=list(part),
            at=now_ms(),
        )
        for part in chunks(items, _ITEMS_MAX)
    ]
