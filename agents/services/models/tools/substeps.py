"""Iterations and tool calls as substeps of the step. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agents.services.client import StepResponse
from agents.services.failure import one_line
from agents.services.models.exchange import ModelExchange
from agents.services.models.tools.growing_calls import CalledTool
from agents.services.models.tools.rules import PlannedCall
from schemas.records import Error, ErrorCategory, Json, Millis, SubStep

DOCUMENT_MAX_BYTES = 2_000
"""A larger document of a substep is replaced by its size: a hundred of them fit into a record."""

TOOL_CALL_REFUSED = "TOOL_CALL_REFUSED"
"""The model called a tool that does not exist, or with wrong arguments."""


def iteration(
    exchange: ModelExchange,
    text: str,
    called: Sequence[CalledTool],
    began: Millis,
    ended: Millis,
) -> SubStep:
    """One answer of the model, with what its provider said about its limits."""
    names = [one_line(call.name) for call in called]
    document: dict[str, object] = {"text": text, "tools": names}
    if exchange.rates:
        document["rate_limits"] = exchange.rates
    return SubStep(
        name="chat",
        status="completed",
        input=_document({"model": exchange.model}),
        output=_document(document),
        started_at=began,
        completed_at=ended,
        usage=exchange.usage(),
    )


def refused_call(call: PlannedCall, at: Millis) -> SubStep:
    """A call that was given back to the model."""
    error = Error(
        code=TOOL_CALL_REFUSED, message=one_line(call.refusal), category=ErrorCategory.DOWNSTREAM
    )
    return failed_call(call, error, at, at)


def failed_call(call: PlannedCall, error: Error, began: Millis, ended: Millis) -> SubStep:
    """A call that its service refused, or that failed."""
    return SubStep(
        name=_name(call),
        status="failed",
        input=_text(call.called.arguments),
        error=error,
        started_at=began,
        completed_at=ended,
    )


def run_call(call: PlannedCall, response: StepResponse, began: Millis, ended: Millis) -> SubStep:
    """A call with a result."""
    return SubStep(
        name=_name(call),
        status="completed",
        input=_text(call.called.arguments),
        output=_text(response.output),
        started_at=began,
        completed_at=ended,
        usage=response.usage,
    )


def _name(call: PlannedCall) -> str:
    return one_line(call.called.name) or "?"


def _document(value: object) -> Json:
    return _text(msgspec.json.encode(value).decode())


def _text(text: str) -> Json:
    """A document that is small; the caller of the client checks that it is JSON."""
    size = len(text.encode(errors="surrogatepass"))
    if size > DOCUMENT_MAX_BYTES:
        return Json(msgspec.json.encode({"omitted_bytes": size}).decode())
    return Json(text or "{}")
