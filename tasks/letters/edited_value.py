"""Edits the value of a dead letter: decoded, changed, checked against its schema. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from schemas.codec import decode, encode
from schemas.dead_letter_record import DeadLetter
from schemas.errors import DecodeError, EncodeError, OrchestratorError
from schemas.limits import JSON_DEPTH_MAX
from schemas.records import Record
from schemas.topics import Topics


class EditRefusedError(OrchestratorError):
    """The edited value is not a record of its topic, or this letter cannot be edited.

    Nothing was written; change the edit.
    """

    code = "EDIT_REFUSED"


def record_type_of(letter: DeadLetter, topics: Topics) -> type[Record]:
    """The record type of a letter's value.

    Raises:
        EditRefusedError: this letter is not replayed as a record, so an edit would have no effect.
    """
    if letter.of_step:
        raise EditRefusedError("a step's input is made from its task: retry the task instead")
    record_type = topics.record_of(letter.topic)
    if record_type is None or letter.topic == topics.task_events:
        raise EditRefusedError(f"no record is ever sent to {letter.topic} again")
    return record_type


def fields_of(letter: DeadLetter, value: bytes | None, record_type: type[Record]) -> dict[str, Any]:
    """The fields of a value, from which an edit begins.

    If the value cannot be decoded: the defaults, and the fields that are known from the letter.
    """
    try:
        return dict(msgspec.to_builtins(decode(value, record_type)))
    except DecodeError:
        fields = msgspec.structs.fields(record_type)
        known: dict[str, Any] = {
            "task_id": letter.task_id or (letter.key or b"").decode(errors="replace"),
            "tenant_id": letter.tenant_id or "",
            "created_at": letter.original_at,
            "issued_at": letter.original_at,
        }
        defaults = {
            field.name: msgspec.to_builtins(field.default)
            for field in fields
            if field.default is not msgspec.NODEFAULT
        }
        return {**{f.name: known[f.name] for f in fields if f.name in known}, **defaults}


def an_object(text: str) -> dict[str, Any]:
    """The whole value, given as JSON.

    Raises:
        EditRefusedError: the text is not a JSON object.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EditRefusedError(f"this is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise EditRefusedError("this is not a JSON object")
    return value


def with_changes(fields: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Apply ``path=value`` changes, in order.

    A path is a field's name, or continues into a JSON document: ``input.query=why?``. A value
    is read as JSON if it is JSON, otherwise as text; a text field takes the value as it is.

    Raises:
        EditRefusedError: a change does not have this form, or its path does not exist.
    """
    try:
        return _with_changes(fields, changes)
    except RecursionError:
        raise EditRefusedError("a change is nested too deep") from None


def _with_changes(fields: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    changed = dict(fields)
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not path:
            raise EditRefusedError(f"{change!r} is not path=value")
        name, *rest = path.split(".")
        # Python's own limit for recursion differs between its versions.
        if len(rest) > JSON_DEPTH_MAX:
            raise EditRefusedError(f"a change is nested too deep, at most {JSON_DEPTH_MAX}")
        if rest:
            document = _document(changed.get(name), name)
            _set(document, rest, text)
            changed[name] = msgspec.json.encode(document).decode()
        else:
            changed[name] = text if isinstance(changed.get(name), str) else _value(text)
    return changed


def as_value(fields: dict[str, Any], record_type: type[Record]) -> bytes:
    """Encode edited fields.

    Raises:
        EditRefusedError: the fields do not fit the schema; the message names the schema.
    """
    known = {field.name for field in msgspec.structs.fields(record_type)}
    unknown = sorted(set(fields) - known)
    if unknown:
        raise EditRefusedError(f"{record_type.__name__} has no field {unknown[0]!r}")
    try:
        return encode(msgspec.convert(fields, record_type))
    except (msgspec.ValidationError, EncodeError) as error:
        raise EditRefusedError(f"{record_type.__name__}: {error}") from error


def _document(value: Any, name: str) -> Any:
    try:
        return msgspec.json.decode(value) if isinstance(value, str) else {}
    except msgspec.DecodeError as error:
        raise EditRefusedError(f"{name} is not JSON, set it as a whole: {error}") from error


def _set(document: Any, path: Sequence[str], text: str) -> None:
    *way, last = path
    for name in way:
        document = document.setdefault(name, {}) if isinstance(document, dict) else None
    if not isinstance(document, dict):
        raise EditRefusedError(f"{'.'.join(path)} does not lead into an object")
    document[last] = text if isinstance(document.get(last), str) else _value(text)


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
