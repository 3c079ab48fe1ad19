"""Foreign JSON text, checked so strictly that no later part can fail on it.

Text that passes here can be stored by Postgres (``jsonb`` and ``text``), parsed by any JSON
reader, and written again by :func:`compact`.

Foreign text that may have a fault is read with the standard library: unlike msgspec it reports
*what* is wrong (a NaN, a number out of range and a lone surrogate are different faults with
different codes), gives each number's literal to a hook, and shows repeated keys. Most text is
without faults, which ``sound_json.py`` knows sooner. What has passed once is read again, and
written, with msgspec alone.
"""

import json
import re
from typing import Any, NoReturn

import msgspec

from schemas.errors import InvalidRecordError
from schemas.limits import JSON_DEPTH_MAX
from schemas.records import Json
from schemas.sound_json import SUSPECT, nesting, reader

NUMBER_CHARS_MAX = 400
"""Longest literal of a number, and largest power of ten in its exponent.

The largest double has 309 digits; Postgres' ``numeric``, inside ``jsonb``, takes at most
16,383 digits after the point, and Python by default refuses integers over 4,300 digits."""


def parse_object(text: str, *, what: str, max_bytes: int) -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        text: the document.
        what: names the document in messages, such as ``input``.
        max_bytes: largest allowed size in bytes of UTF-8, inclusive.

    Raises:
        InvalidRecordError: as :func:`parse_value`; ``JSON_INVALID`` also for a value that is
            not an object.
    """
    value = parse_value(text, what=what, max_bytes=max_bytes)
    if not isinstance(value, dict):
        raise InvalidRecordError("JSON_INVALID", f"{what} is not a JSON object")
    return value


def parse_value(text: str, *, what: str, max_bytes: int) -> Any:
    """Parse any JSON value; arguments as for :func:`parse_object`.

    Integers stay exact; other numbers become IEEE doubles. A key that occurs twice in one
    object is refused, since two readers would see two different documents.

    Raises:
        InvalidRecordError: the document is faulty; trying again does not help. Codes:
            ``INPUT_TOO_LARGE``; ``TEXT_NOT_STORABLE``: NUL or half a surrogate pair in a key
            or a string, raw or as an escape; ``NUMBER_NOT_STORABLE``: NaN, an infinity, or a
            number that is not a finite double or longer than ``NUMBER_CHARS_MAX``;
            ``JSON_TOO_DEEP``: nested deeper than ``JSON_DEPTH_MAX``; ``JSON_INVALID``: any other
            fault.
    """
    check_size(text, what=what, max_bytes=max_bytes)
    check_text(text, what)
    if len(text) <= _AT_ONCE_CHARS and (sound := _read_sound(text)) is not SUSPECT:
        return sound
    check_depth(text, what=what)
    try:
        value = _DECODER.decode(text)
    except InvalidRecordError as error:
        raise InvalidRecordError(error.code, f"{what}: {error}") from None
    except ValueError as error:
        raise InvalidRecordError("JSON_INVALID", f"{what} is not JSON: {error}") from None
    if "\\u" in text:  # only an escape can still hide what check_text looks for
        _check_strings(value, what)
    return value


def read(text: Json) -> Any:
    """Parse text that :func:`parse_value` accepted before, or that :func:`compact` wrote."""
    return msgspec.json.decode(text)


def compact(value: Any) -> Json:
    """Write a value of the types that :func:`parse_value` returns as the shortest JSON text.

    Keys keep their order, so that equal documents built in the same way are equal texts. Characters
    outside of ASCII stay as they are. The value must not hold a NaN or an infinity, which
    would become ``null``.

    Raises:
        InvalidRecordError: ``TEXT_NOT_STORABLE``; a string holds half a surrogate pair.
    """
    try:
        return Json(msgspec.json.encode(value).decode())
    except UnicodeEncodeError:
        message = "the value contains half a surrogate pair"
        raise InvalidRecordError("TEXT_NOT_STORABLE", message) from None


def check_size(text: str, *, what: str, max_bytes: int) -> None:
    """Check the size of a text in bytes of UTF-8.

    Raises:
        InvalidRecordError: ``INPUT_TOO_LARGE``.
    """
    # A character has at most four bytes: short texts need not be encoded to be measured.
    if len(text) * 4 <= max_bytes:
        return
    size = len(text.encode("utf-8", "surrogatepass")) if len(text) <= max_bytes else len(text)
    if size > max_bytes:
        raise InvalidRecordError(
            "INPUT_TOO_LARGE", f"{what} has {size} bytes or more, at most {max_bytes} may be"
        )


def check_text(text: str, what: str) -> None:
    """Check that a text can be stored: no NUL (Postgres), no lone surrogate (UTF-8).

    Raises:
        InvalidRecordError: ``TEXT_NOT_STORABLE``; the text is faulty.
    """
    if "\0" in text:
        raise InvalidRecordError("TEXT_NOT_STORABLE", f"{what} contains the character NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        message = f"{what} contains half a surrogate pair"
        raise InvalidRecordError("TEXT_NOT_STORABLE", message) from None


def check_depth(text: str, *, what: str) -> None:
    """Check the nesting of a JSON text before anything recursive reads it; linear time.

    Raises:
        InvalidRecordError: ``JSON_TOO_DEEP``.
    """
    # Most documents have too few brackets to be too deep in any order.
    if text.count("[") + text.count("{") <= JSON_DEPTH_MAX:
        return
    # Much text would be many objects at once, made without letting other threads run.
    if len(text) <= _AT_ONCE_CHARS:
        try:
            if nesting(text) <= JSON_DEPTH_MAX:
                return
        except (ValueError, RecursionError):
            pass
    depth = 0
    for token in _BRACKET_OR_STRING.finditer(text):
        first = token[0][0]
        if first in "[{":
            depth += 1
            if depth > JSON_DEPTH_MAX:
                message = f"{what} is nested deeper than {JSON_DEPTH_MAX}"
                raise InvalidRecordError("JSON_TOO_DEEP", message)
        elif first in "]}":
            depth -= 1


def _check_strings(value: Any, what: str) -> None:
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            check_text(item, what)
        elif isinstance(item, list):
            todo.extend(item)
        elif isinstance(item, dict):
            todo.extend(item)
            todo.extend(item.values())


def _integer(literal: str) -> int:
    if len(literal) < 300:  # fewer digits than the largest double has: the usual case
        return int(literal)
    value = int(_of_sane_length(literal))
    try:
        float(value)
    except OverflowError:
        raise _not_storable(literal) from None
    return value


def _fraction(literal: str) -> float:
    value = float(_of_sane_length(literal))
    if "e" in literal or "E" in literal:
        exponent = int(literal.lower().partition("e")[2])
        if value in (_INFINITY, -_INFINITY) or abs(exponent) > NUMBER_CHARS_MAX:
            raise _not_storable(literal)
    elif value in (_INFINITY, -_INFINITY):
        raise _not_storable(literal)
    return value


def _constant(literal: str) -> NoReturn:
    raise _not_storable(literal)


def _of_sane_length(literal: str) -> str:
    if len(literal) > NUMBER_CHARS_MAX:
        raise _not_storable(literal)
    return literal


def _not_storable(literal: str) -> InvalidRecordError:
    return InvalidRecordError("NUMBER_NOT_STORABLE", f"the number {literal[:32]} cannot be stored")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise InvalidRecordError("JSON_INVALID", "a key occurs twice in one object")
    return value


_AT_ONCE_CHARS = 1024 * 1024
_INFINITY = float("inf")
# A string without its closing quote runs to the end, and the quantifiers are possessive, so
# hostile text cannot make the search quadratic.
_BRACKET_OR_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)
_read_sound = reader(_fraction, depth_max=JSON_DEPTH_MAX)
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_fraction,
    parse_constant=_constant,
)
