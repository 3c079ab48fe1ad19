"""Cuts a dead letter that is too large for its topic. Pure."""

from __future__ import annotations

import hashlib

from msgspec.structs import replace

from schemas.dead_letter import CUT_HEADERS, ID_HEADER
from schemas.headers import Headers
from streams.kafka.publisher import Outgoing

VALUE_KEPT_BYTES = 64 * 1024
"""Bytes of the value that are kept: enough to recognize it."""
HEADERS_KEPT_BYTES = 16 * 1024
KEY_KEPT_BYTES = 1024


def cut(letter: Outgoing) -> Outgoing:
    """The same letter with the first part of its key, value and original headers.

    Our headers stay, so the letter's position, code and task are known. Three more headers hold the
    original lengths of key and value, and the SHA-256 of the value. A cut letter cannot be
    replayed:
    the sender of the original has to send it again.
    """
    key, value = letter.key, letter.value or b""
    facts = (str(len(key or b"")), str(len(value)), hashlib.sha256(value).hexdigest())
    marks = [(name, fact.encode()) for name, fact in zip(CUT_HEADERS, facts, strict=True)]
    original, ours = _split(letter.headers)
    return replace(
        letter,
        key=None if key is None else key[:KEY_KEPT_BYTES],
        value=value[:VALUE_KEPT_BYTES],
        headers=[*_first(original, HEADERS_KEPT_BYTES), *ours, *marks],
    )


def _split(headers: Headers) -> tuple[Headers, Headers]:
    """The original headers of the record, and the headers that dead-lettering added."""
    at = max(place for place, (name, _) in enumerate(headers) if name == ID_HEADER)
    return headers[:at], headers[at:]


def _first(headers: Headers, at_most: int) -> Headers:
    """The first headers that fit, each one whole."""
    kept: Headers = []
    for name, value in headers:
        at_most -= len(name.encode()) + len(value or b"")
        if at_most < 0:
            break
        kept.append((name, value))
    return kept
