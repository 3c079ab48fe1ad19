"""What a failure of a model's API means for the step. Pure.

Servers follow OpenAI's errors (``{"error": {"code", "type", "message"}}``) more or less, so the
status decides where the code says nothing. ``docs/models.md`` has the table.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from agents.services.connection_faults import without_addresses
from agents.services.failure import (
    OVERLOADED,
    UNAVAILABLE,
    CallFailure,
    Verdict,
    verdict_of_http,
)
from schemas.records import ErrorCategory

CONTEXT_TOO_LONG = Verdict(CallFailure.PERMANENT, "MODEL_CONTEXT_TOO_LONG", ErrorCategory.USER)
"""The prompt has more tokens than the model takes."""
CONTENT_FILTERED = Verdict(CallFailure.PERMANENT, "MODEL_CONTENT_FILTERED", ErrorCategory.USER)
"""The provider refused the prompt or the answer."""
QUOTA_EXCEEDED = Verdict(CallFailure.TRANSIENT, "MODEL_QUOTA_EXCEEDED", ErrorCategory.DOWNSTREAM)
"""The account has no money or quota left: an operator has to act, and meanwhile commands wait."""
NOT_FOUND = Verdict(CallFailure.TRANSIENT, "MODEL_NOT_FOUND", ErrorCategory.DOWNSTREAM)
"""The provider has no such model, as after it was retired: an operator has to name another one, and
meanwhile commands wait."""
ANSWER_INVALID = Verdict(CallFailure.TRANSIENT, "MODEL_ANSWER_INVALID", ErrorCategory.DOWNSTREAM)
"""The answer does not satisfy the schema; another attempt may."""
STALLED = Verdict(CallFailure.TIMEOUT, "MODEL_STALLED", ErrorCategory.TIMEOUT)
"""No token came for too long."""
PROMPT_INVALID = Verdict(CallFailure.PERMANENT, "MODEL_PROMPT_INVALID", ErrorCategory.USER)
"""The step's input is not that of a model."""
ITERATIONS_EXCEEDED = Verdict(
    CallFailure.PERMANENT, "MODEL_ITERATIONS_EXCEEDED", ErrorCategory.DOWNSTREAM
)
"""The model called tools until the last iteration that it may have. Another attempt would cost as
much again."""

_CODES = {
    "context_length_exceeded": CONTEXT_TOO_LONG,
    "exceed_context_size_error": CONTEXT_TOO_LONG,  # llama.cpp
    "content_filter": CONTENT_FILTERED,
    "content_policy_violation": CONTENT_FILTERED,
    "insufficient_quota": QUOTA_EXCEEDED,
    "billing_hard_limit_reached": QUOTA_EXCEEDED,
    "model_not_found": NOT_FOUND,
    "rate_limit_exceeded": OVERLOADED,
    "overloaded_error": UNAVAILABLE,
    "server_error": UNAVAILABLE,
}
_TOO_LONG = ("maximum context length", "context size", "context window")
_OVERLOADED_STATUS = 529
_KEY = re.compile(r"\b(sk|pk|key|org|proj)[-_][A-Za-z0-9*_-]{3,}|\S*\*{3,}\S*")
"""As providers write their keys and accounts, also with stars in the middle."""


def verdict_of(status: int, body: bytes) -> tuple[Verdict, str]:
    """The verdict of an answer that is not a success, with a message for people.

    Args:
        status: of HTTP.
        body: its beginning; foreign.
    """
    code, kind, said = _error_of(body)
    # Providers quote keys and addresses; the message gets to the task's tenant.
    message = without_secrets(said)
    told = f"HTTP {status}: {message}" if message else f"HTTP {status}"
    for word in (code, kind):
        if word in _CODES:
            return _CODES[word], told
    if status == 400 and any(words in message.lower() for words in _TOO_LONG):
        return CONTEXT_TOO_LONG, told
    if status == _OVERLOADED_STATUS:
        return UNAVAILABLE, told
    return verdict_of_http(status), told


def without_secrets(text: str) -> str:
    """The text without addresses and without what may be a key."""
    return _KEY.sub("[key]", without_addresses(text))


def _error_of(body: bytes) -> tuple[str, str, str]:
    try:
        document: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", "", ""
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, str):
        return "", "", error
    if not isinstance(error, dict):
        return "", "", ""
    code, kind, message = (error.get(name) for name in ("code", "type", "message"))
    texts = (value if isinstance(value, str) else "" for value in (code, kind, message))
    return tuple(texts)  # type: ignore[return-value]
