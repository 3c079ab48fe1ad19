"""Edits a letter: what a replay of it will send. The letter itself never changes. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from schemas.records import DeadLetterAction, DeadLetterActionKind, DeadLetterItem
from schemas.topics import Topics
from tasks.letters.author import Author
from tasks.letters.edited_value import EditRefusedError, as_value, fields_of, record_type_of
from tasks.letters.known import KnownLetter

Change = Callable[[dict[str, Any]], dict[str, Any]]
"""Makes the new fields from the existing ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """An edit that fits the schema."""

    letter_id: str
    fields: dict[str, Any] = field(repr=False)
    """The fields before the edit, or as many of them as are known."""
    wanted: dict[str, Any] = field(repr=False)
    value: bytes = field(repr=False)
    sha256_before: str
    sha256_after: str

    def action(self, author: Author) -> DeadLetterAction:
        """The record that makes the edit effective once it is appended to the ledger."""
        return DeadLetterAction(
            action_id=author.new_id(),
            kind=DeadLetterActionKind.EDITED,
            actor=author.actor,
            reason=author.reason,
            items=[DeadLetterItem(letter_id=self.letter_id)],
            value_base64=base64.b64encode(self.value).decode(),
            sha256_before=self.sha256_before,
            sha256_after=self.sha256_after,
            at=author.clock(),
        )


def an_edit(known: KnownLetter, change: Change, topics: Topics, *, max_bytes: int) -> Edit:
    """Make an edit; nothing is written.

    Args:
        known: with its value. If it was edited before, this edit begins from that one.
        change: makes the new fields.
        topics: of this system.
        max_bytes: the largest value that may be sent.

    Raises:
        EditRefusedError: the result is not a record of the letter's topic, or is too large.
    """
    before = known.letter.value if known.state.edited is None else known.state.edited
    record_type = record_type_of(known.letter, topics)
    fields = fields_of(known.letter, before, record_type)
    wanted = change(fields)
    value = as_value(wanted, record_type)
    if len(value) > max_bytes:
        raise EditRefusedError(f"the value has {len(value)} bytes, {max_bytes} are allowed")
    return Edit(
        letter_id=known.letter.id,
        fields=fields,
        wanted=wanted,
        value=value,
        sha256_before=_sha256(before),
        sha256_after=_sha256(value),
    )


def _sha256(value: bytes | None) -> str:
    return hashlib.sha256(value or b"").hexdigest()
