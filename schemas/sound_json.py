"""Recognizes JSON text that has no fault of those that ``json_text.py`` names, at once.

msgspec reads a document several times as fast as the standard library, but it does not say which
fault a text has, and overlooks some. What is looked at here besides, on its result or on the text,
is enough to know that none of those is there. All other text is read a second time, slowly.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from schemas.errors import InvalidRecordError

SUSPECT = object()
"""Instead of a value: the text is not JSON, or may have a fault, or has none and looks like it."""


def reader(check_number: Callable[[str], float], *, depth_max: int) -> Callable[[str], Any]:
    """A function that reads JSON text, and returns its value or :data:`SUSPECT`.

    The text is one that can be UTF-8.

    Args:
        check_number: the double of the literal of a number that is not an integer; raises
            InvalidRecordError if it must not be used.
        depth_max: deepest nesting of lists and objects.
    """
    decode = msgspec.json.Decoder(float_hook=check_number).decode

    def read(text: str) -> Any:
        try:
            value = decode(text)
        except (ValueError, RecursionError, InvalidRecordError):
            return SUSPECT
        squeezed = text.encode().translate(_DIGITS_AS_0, _WHITE_SPACE)
        # An integer may be too large, an escape may be that of NUL.
        if _LONG_NUMBER in squeezed or "\\u0000" in text:
            return SUSPECT
        depth, keys = _depth_and_keys(value)
        # A key that occurs twice is one key of the value, and two of the text. Inside of a string
        # what looks like the end of a key may stand, too.
        if depth > depth_max or keys != squeezed.count(b'":'):
            return SUSPECT
        return value

    return read


def nesting(text: str) -> int:
    """How deep lists and objects are nested in JSON text.

    Raises:
        ValueError: the text is not JSON.
        RecursionError: deeper than this interpreter can read.
    """
    return _depth_and_keys(msgspec.json.decode(text))[0]


def _depth_and_keys(value: Any) -> tuple[int, int]:
    depth = keys = 0
    level = [value] if type(value) in _CONTAINERS else []
    while level:
        depth += 1
        inner: list[Any] = []
        for container in level:
            values = container
            if type(container) is dict:
                keys += len(container)
                values = container.values()
            inner += [item for item in values if type(item) in _CONTAINERS]
        level = inner
    return depth, keys


_CONTAINERS = (dict, list)
_WHITE_SPACE = b" \t\n\r"
_DIGITS_AS_0 = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 300
