"""One call of one model, and what it consumed, however it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from agents.services.client import StepRequest, StepResponse
from agents.services.failure import ServiceError
from agents.services.models.answer import TokenCount
from agents.services.models.usage_meter import UsageMeter
from schemas.records import Json, Millis, SubStep, Usage


class ModelExchange:
    """A call of a model: its connection says how far it came, its method what was counted.

    Args:
        model: which is asked.
        prompt: the texts that are sent, for an estimate.
        meter: makes the usage.
        request: of the step; gets what the call consumed if it has no answer.
    """

    def __init__(
        self, model: str, prompt: Sequence[str], meter: UsageMeter, request: StepRequest
    ) -> None:
        self.model = model
        self.request = request
        self._prompt = prompt
        self._meter = meter
        self._started_at = _now()
        self.sent = False
        """Whether the server can have got the prompt."""
        self.refused = False
        """Whether it answered with a failure: nothing was generated."""
        self.rates: dict[str, int] = {}
        """What the provider said about its limits."""
        self.tokens: TokenCount | None = None
        """What it counted so far; None: nothing."""
        self.text = ""
        """What it generated so far."""

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Tell the step what the call consumed, if it ends by an error or a cancel."""
        try:
            yield
        except (Exception, asyncio.CancelledError) as error:
            if self.request.on_spent is not None:
                self.request.on_spent(self._without_answer(error))
            raise

    def answered(self, output: Json) -> StepResponse:
        """The answer with its usage; what the provider said about its limits is kept beside it."""
        usage = self.usage()
        substeps = [self._substep("completed", usage)] if self.rates else []
        return StepResponse(output=output, usage=usage, substeps=substeps)

    def usage(self) -> Usage:
        """What the call consumed; estimated if the server did not count."""
        return self._meter.usage(self.model, self.tokens, self._prompt, self.text)

    def _without_answer(self, error: BaseException) -> SubStep:
        usage = self.usage() if self.sent and not self.refused else None
        if not isinstance(error, ServiceError):
            # Cancelled, or out of time.
            return self._substep("cancelled", usage)
        return msgspec.structs.replace(self._substep("failed", usage), error=error.as_record())

    def _substep(self, status: str, usage: Usage | None) -> SubStep:
        kept = {"rate_limits": self.rates} if self.rates else {}
        return SubStep(
            name=f"{self.request.method} {self.model}",
            status=status,
            output=Json(msgspec.json.encode(kept).decode()),
            started_at=self._started_at,
            completed_at=_now(),
            usage=usage,
        )


def _now() -> Millis:
    return Millis(time.time_ns() // 1_000_000)
