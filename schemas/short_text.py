"""Cuts text that strangers wrote to what an index, a list and a log line can hold. Pure."""

from hashlib import sha256

KEY_MAX_BYTES = 256
"""UTF-8. Far under the 2,704 bytes that an entry of a Postgres B-tree may have, also for three
such keys in one index, and far over the 64 characters of our own ids."""
_HEAD_BYTES = KEY_MAX_BYTES - len("~sha256:") - 64


def short_key(text: str) -> str:
    """A text that names something: the same if it is short, else its beginning and its hash.

    Different texts stay different, and the same text is always cut alike. What was cut holds a
    ``~`` and is longer than 64 characters, so it is never an id of ours.
    """
    encoded = _encoded(text)
    if len(encoded) <= KEY_MAX_BYTES:
        return text
    head = encoded[:_HEAD_BYTES].decode(errors="ignore")
    return f"{head}~sha256:{sha256(encoded).hexdigest()}"


def short_text(text: str, max_bytes: int) -> str:
    """A text for people: its beginning."""
    encoded = _encoded(text)
    return text if len(encoded) <= max_bytes else encoded[:max_bytes].decode(errors="ignore")


def _encoded(text: str) -> bytes:
    return text.encode(errors="backslashreplace")
