"""The contents of a letter, and the letters that are related to it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from schemas.codec import bytes_understood, decode
from schemas.dead_letter_record import DeadLetter
from schemas.errors import DecodeError
from schemas.topics import Topics
from tasks.letters.known import KnownLetter

_BEFORE, _AFTER = 32, 64


@dataclass(frozen=True, slots=True)
class Decoded:
    """The fields of a record of ours; None: the value is null."""

    fields: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Foreign:
    """The value of a topic that is not ours."""

    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecodable:
    """A value that is not a record of its topic, with the place where decoding failed."""

    reason: str
    size_bytes: int
    breaks_at_byte: int
    before: bytes
    from_there: bytes


def contents_of(letter: DeadLetter, topics: Topics) -> Decoded | Foreign | Undecodable:
    """Decode the value of a letter as far as possible."""
    record_type = topics.record_of(letter.topic)
    if letter.value is None:
        return Decoded(None)
    if record_type is None:
        return Foreign(letter.value)
    try:
        return Decoded(msgspec.to_builtins(decode(letter.value, record_type)))
    except DecodeError as error:
        point = bytes_understood(letter.value, record_type)
        return Undecodable(
            reason=f"{error.code}: {error}",
            size_bytes=len(letter.value),
            breaks_at_byte=point,
            before=letter.value[max(0, point - _BEFORE) : point],
            from_there=letter.value[point : point + _AFTER],
        )


def related_letters(known_letters: Iterable[KnownLetter], letter: DeadLetter) -> list[KnownLetter]:
    """Earlier and later letters of the same record, and the other letters of its task."""
    return [
        other
        for other in known_letters
        if other.letter.id != letter.id
        and (
            other.letter.replay_of == letter.id
            or other.letter.id == letter.replay_of
            or (letter.task_id is not None and other.letter.task_id == letter.task_id)
        )
    ]


def text_of(value: bytes | None) -> str | None:
    """A key or a header as text; bytes that are not UTF-8 are escaped."""
    return None if value is None else value.decode(errors="backslashreplace")
