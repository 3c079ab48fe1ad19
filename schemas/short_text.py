"""Cuts foreign text to the limits of an index, a list and a log line. Pure."""

from hashlib import sha256

KEY_MAX_BYTES = 256
"""Bytes of UTF-8. Far below the 2,704 bytes that an entry of a Postgres B-tree may have, even for
three such keys in one index, and far above the 64 characters of our own ids."""
_HEAD_BYTES = KEY_MAX_BYTES - len("~sha256:") - 64


def short_key(text: str) -> str:
    """A name or an id: unchanged if it is short, otherwise its beginning and its hash.

    Different texts stay different, and the same text is always cut in the same way. A cut text
    holds a ``~`` and is longer than 64 characters, so it is never an id of ours.
    """
    encoded = _encoded(text)
    if len(encoded) <= KEY_MAX_BYTES:
        return text
    head = encoded[:_HEAD_BYTES].decode(errors="ignore")
    return f"{head}~sha256:{sha256(encoded).hexdigest()}"


def short_text(text: str, max_bytes: int) -> str:
    """The beginning of a text that people read."""
    encoded = _encoded(text)
    return text if len(encoded) <= max_bytes else encoded[:max_bytes].decode(errors="ignore")


def _encoded(text: str) -> bytes:
    return text.encode(errors="backslashreplace")
