"""The file of keys, ``ORCH_API_KEYS_FILE``: one JSON object a line.

Blank lines, and lines that begin with ``#``, are for people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import UNSET, UnsetType

from orchestrator.api.access.keys import Key, Keys
from orchestrator.api.access.rights import Right
from schemas.records import Millis

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_QUOTED = re.compile(r"'[^']*'")


class KeyLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line of the file."""

    id: str
    tenant: str
    scopes: list[Right]
    hash: str
    expires_at: datetime | UnsetType = UNSET
    """From then on the key is refused; RFC 3339 with a zone. Absent: never."""
    revoked_at: datetime | UnsetType = UNSET
    """Since when the key is refused, as ``KEY_REVOKED``. Its line stays in the file, so that the id
    in logs and in the events of tasks can still be traced to its tenant."""


def parse_keys(contents: bytes) -> Keys:
    """Read a file of keys.

    Raises:
        ValueError: a line is wrong; the message begins with its number and quotes no hash.
    """
    by_hash: dict[str, Key] = {}
    ids: set[str] = set()
    for index, line in written_lines(contents):
        try:
            key = key_of(line)
        except ValueError as error:
            raise ValueError(f"line {index + 1}: {error}") from None
        if key.id in ids or key.hash in by_hash:
            raise ValueError(f"line {index + 1}: an earlier line has this id or this hash")
        ids.add(key.id)
        by_hash[key.hash] = key
    return Keys(by_hash)


def written_lines(contents: bytes) -> Iterator[tuple[int, KeyLine]]:
    """The lines that hold a key, with their indexes; raises as :func:`parse_keys`."""
    for index, text in enumerate(contents.split(b"\n")):
        if text.strip() and not text.lstrip().startswith(b"#"):
            try:
                yield index, msgspec.json.decode(text, type=KeyLine)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                # What stands in the wrong field may be a key.
                reason = _QUOTED.sub("that", str(error))
                raise ValueError(f"line {index + 1}: {reason}") from None


def key_of(line: KeyLine) -> Key:
    """The key of a line; raises ValueError."""
    return Key(
        id=line.id,
        tenant=line.tenant,
        scopes=frozenset(line.scopes),
        hash=line.hash,
        expires_at=_millis(line.expires_at, "expires_at"),
        revoked_at=_millis(line.revoked_at, "revoked_at"),
    )


def _millis(time: datetime | UnsetType, field: str) -> Millis | None:
    if isinstance(time, UnsetType):
        return None
    if time.tzinfo is None:
        raise ValueError(f"{field} is a time without a zone")
    return Millis((time - _EPOCH) // timedelta(milliseconds=1))
