"""Dead letters of one tenant, or of all, from the index: pages, counts, one with its relatives.

The rules of ``tasks/letters``, in SQL; a test compares the two. The index is a moment behind the
topics, and its status of a letter is for display only: a replay reads the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sinks.errors import CursorError
from sinks.letters.rows import stored_letter, stored_state
from sinks.queries import query
from sinks.reads.reader import Reader
from tasks.letters.filter import LetterFilter
from tasks.letters.histogram import Bar, in_order
from tasks.letters.known import KnownLetter
from tasks.letters.ledger import REPLAYS_MAX

_BARS_MAX = 2_000
_TIME_MAX_MS = 253_402_300_799_999
_WHICH = "which_letters"


@dataclass(frozen=True, slots=True)
class LetterCursor:
    """A position in (dead_lettered_at, id), as text ``l.<Unix milliseconds>.<id>``."""

    dead_lettered_at: int
    id: str

    @classmethod
    def of(cls, known: KnownLetter) -> LetterCursor:
        """The position of a letter; the next page begins after it."""
        return cls(known.letter.dead_lettered_at, known.letter.id)

    @classmethod
    def parse(cls, text: str) -> LetterCursor:
        """Read a cursor; ``CursorError`` if the text is not a cursor of this order."""
        mark, _, rest = text.partition(".")
        millis, _, letter_id = rest.partition(".")
        numeric = millis.isascii() and millis.isdecimal() and len(millis) < 16
        if mark != "l" or not numeric or int(millis) > _TIME_MAX_MS or "\0" in letter_id:
            raise CursorError(f"{text[:100]!a} is not a cursor of dead letters")
        return cls(int(millis), letter_id)

    def __str__(self) -> str:
        return f"l.{self.dead_lettered_at}.{self.id}"


async def newest(
    reader: Reader, which: LetterFilter, *, limit: int, after: LetterCursor | None = None
) -> list[KnownLetter]:
    """A page of at most ``limit`` letters, newest first.

    Args:
        reader: open.
        which: names one tenant, or none for the letters of all; its ids are ignored.
        limit: at least 1.
        after: the position of the last letter of the previous page.
    """
    return await _page(reader, "newest_letters", which, limit, after)


async def oldest(
    reader: Reader, which: LetterFilter, *, limit: int, after: LetterCursor | None = None
) -> list[KnownLetter]:
    """As :func:`newest`, in the order in which letters are replayed."""
    return await _page(reader, "oldest_letters", which, limit, after)


async def by_id(reader: Reader, which: LetterFilter, ids: Sequence[str]) -> list[KnownLetter]:
    """Letters by their whole ids, and the earlier letters from which their counts continue."""
    rows = await _fetch(reader, "letters_by_id", _owner(which), list(ids))
    return [_known(row) for row in rows]


async def related(
    reader: Reader, which: LetterFilter, letter_id: str, *, limit: int
) -> list[KnownLetter]:
    """The earlier and later letters of a letter, and the others of its task; newest first."""
    rows = await _fetch(reader, "related_letters", _owner(which), letter_id, limit)
    return [_known(row) for row in rows]


async def count(reader: Reader, which: LetterFilter, by: str) -> list[Bar]:
    """A histogram by one of topic, code, step, service, status and hour."""
    rows = await _fetch(reader, "count_letters", which, by, _BARS_MAX)
    bars = [Bar(row["value"], row["count"], row["first_at"], row["last_at"]) for row in rows]
    return in_order(bars, by)


async def _page(
    reader: Reader, name: str, which: LetterFilter, limit: int, after: LetterCursor | None
) -> list[KnownLetter]:
    place = (None, None) if after is None else (after.dead_lettered_at, after.id)
    return [_known(row) for row in await _fetch(reader, name, which, *place, limit)]


async def _fetch(
    reader: Reader, name: str, which: LetterFilter, *arguments: object
) -> list[dict[str, Any]]:
    statement = query(name).replace(f"FROM {_WHICH}", f"FROM (\n{query(_WHICH)}\n) AS {_WHICH}")
    return await reader.fetch_sql(statement, *_parameters(which), *arguments)


def _parameters(which: LetterFilter) -> list[object]:
    [tenant] = which.tenant or [None]
    names = ("topic", "task", "type", "step", "service", "stage", "failure_class", "code")
    chosen = [getattr(which, name) for name in (*names, "exception", "status")]
    lists = [list(values) or None for values in chosen]
    return [tenant, which.ownerless, *lists, which.since_ms, which.until_ms, REPLAYS_MAX]


def _owner(which: LetterFilter) -> LetterFilter:
    return LetterFilter(tenant=which.tenant, ownerless=which.ownerless)


def _known(row: dict[str, Any]) -> KnownLetter:
    return KnownLetter(stored_letter(row), stored_state(row))
