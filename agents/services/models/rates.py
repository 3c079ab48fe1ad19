"""What a provider says about its limits, from the headers of its answer. Pure.

Source: OpenAI's API reference, "Rate limits in headers"; other providers use the same names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from agents.services import failure

_COUNT = re.compile(r"[0-9]{1,15}", re.ASCII)
_DURATION = re.compile(
    r"(?:\d{1,6}h)?(?:\d{1,6}m)?(?:\d{1,9}(?:\.\d{1,9})?s)?(?:\d{1,9}ms)?", re.ASCII
)
_PARTS = re.compile(r"([\d.]+)(ms|h|m|s)", re.ASCII)
_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)
_UNIT_MS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_KINDS = ("requests", "tokens")


def rates_of(headers: Mapping[str, str], *, now_s: float) -> dict[str, int]:
    """The limits in an answer's headers, as numbers; what is not one is left out.

    ``limit_`` and ``remaining_`` of ``requests`` and ``tokens``, ``reset_…_ms`` until the limit is
    whole again, and ``retry_after_ms``.

    Args:
        headers: names in any case that the mapping finds in lower case.
        now_s: Unix seconds.
    """
    found: dict[str, int | None] = {}
    for kind in _KINDS:
        for what in ("limit", "remaining"):
            value = headers.get(f"x-ratelimit-{what}-{kind}", "")
            found[f"{what}_{kind}"] = int(value) if _COUNT.fullmatch(value) else None
        found[f"reset_{kind}_ms"] = _millis_of(headers.get(f"x-ratelimit-reset-{kind}", ""))
    found["retry_after_ms"] = retry_after_ms(headers, now_s=now_s)
    return {name: value for name, value in found.items() if value is not None}


def retry_after_ms(headers: Mapping[str, str], *, now_s: float) -> int | None:
    """``retry-after-ms``, or ``retry-after``: seconds or a date; at most 24 h."""
    exact = failure.retry_after_of(headers.get("retry-after-ms"))
    if exact is not None:
        return exact
    return failure.retry_after_ms(headers.get("retry-after"), now_s=now_s)


def _millis_of(value: str) -> int | None:
    """A duration such as ``1m30.5s`` or ``120ms``, or seconds; at most 24 h."""
    if _SECONDS.fullmatch(value):
        millis = float(value) * 1000
    elif value and _DURATION.fullmatch(value):
        millis = sum(float(number) * _UNIT_MS[unit] for number, unit in _PARTS.findall(value))
    else:
        return None
    return min(round(millis), failure.RETRY_AFTER_MAX_MS)
