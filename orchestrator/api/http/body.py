"""HTTP bodies, parameters and headers: each is made safe or refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from orchestrator.api.errors import ApiError, Kind, from_validation, invalid
from orchestrator.api.limits.metrics import LIMITED

R = TypeVar("R", bound=msgspec.Struct)

_JSON = "application/json"
_TIMES = frozenset({"since", "until"})
_NUMBER = re.compile(r"[-+0-9.eE]*")


def read_json(request: Request, body: bytes, kind: type[R], *, optional: bool) -> R:
    """Decode a JSON body.

    Args:
        request: the call, for its headers.
        body: its whole body.
        kind: the type of the body; unknown fields are refused.
        optional: an empty body means all defaults.

    Raises:
        ApiError: MEDIA_TYPE_UNKNOWN, JSON_INVALID, JSON_TOO_DEEP, or FIELD_INVALID with the field.
    """
    if optional and not body:
        return kind()
    _check_media_type(request)
    return decode_json(body, kind)


def _check_media_type(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        message = f"the body must not be encoded, but Content-Encoding is {encoding[:20]!a}"
        raise ApiError("MEDIA_TYPE_UNKNOWN", message, kind=Kind.MEDIA_TYPE)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _JSON:
        message = f"the body must be {_JSON}"
        raise ApiError("MEDIA_TYPE_UNKNOWN", message, kind=Kind.MEDIA_TYPE)


def decode_json(body: bytes, kind: type[R]) -> R:
    """Decode foreign JSON; raises as :func:`read_json`.

    The nesting of the whole is not counted in Python: 8 MB of brackets would keep every other call
    waiting for a second. The parser stops at Python's limit for recursion; documents in a body are
    counted when they are admitted, up to their own limits.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except RecursionError:
        raise ApiError("JSON_TOO_DEEP", "the body is nested too deeply") from None
    except msgspec.ValidationError as error:
        raise from_validation(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError("JSON_INVALID", f"the body is not JSON: {str(error)[:200]}") from None


def read_query(request: Request, kind: type[R], *, lists: frozenset[str] = frozenset()) -> R:
    """Decode the query; a parameter in ``lists`` may repeat or hold commas.

    Raises:
        ApiError: FIELD_INVALID with the parameter; unknown and repeated ones are refused.
    """
    given: dict[str, object] = {}
    for name in request.query_params:
        values = request.query_params.getlist(name)
        if name in lists:
            given[name] = [part for value in values for part in value.split(",") if part]
        elif len(values) > 1:
            raise invalid(name, "given more than once")
        elif name in _TIMES and _NUMBER.fullmatch(values[0]):
            # Numbers in a query are read laxly, so a year would become seconds of 1970.
            raise invalid(name, "not a time of RFC 3339")
        else:
            given[name] = values[0]
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise from_validation(error) from None


def prefer_wait(headers: Mapping[str, str]) -> float | None:
    """The seconds of ``Prefer: wait=N`` (RFC 7240); None if it is missing or malformed."""
    for preference in headers.get("prefer", "").split(","):
        name, _, value = preference.partition("=")
        value = value.strip().strip('"')
        if name.strip().lower() == "wait" and value.isascii() and value.isdecimal():
            return float(value[:9])
    return None


def announced_bytes(headers: Mapping[str, str]) -> int | None:
    """The size of the body that the headers announce; None: it shows only when it is read.

    A number of more than 18 digits is cut, and is still larger than any body.
    """
    length = headers.get("content-length", "")
    if length.isascii() and length.isdecimal():
        return int(length.lstrip("0")[:18] or "0")
    return None if "transfer-encoding" in headers else 0


def body_too_large(max_bytes: int) -> ApiError:
    """The refusal of a body that is larger than the service takes."""
    message = f"the body has more than {max_bytes} bytes"
    return ApiError("BODY_TOO_LARGE", message, kind=Kind.TOO_LARGE)


async def read_bytes(request: Request, max_bytes: int, *, timeout_s: float) -> bytes:
    """The body.

    Raises:
        ApiError: BODY_TOO_LARGE, BODY_LATE, or JSON_INVALID if it ends early.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for part in request.stream():
                body += part
                if len(body) > max_bytes:
                    raise body_too_large(max_bytes)
    except ClientDisconnect:
        raise ApiError("JSON_INVALID", "the body ended early") from None
    except TimeoutError:
        LIMITED.labels("body_timeout_s").inc()
        message = f"the body did not arrive within {timeout_s:g} s"
        raise ApiError("BODY_LATE", message, kind=Kind.LATE) from None
    return bytes(body)
