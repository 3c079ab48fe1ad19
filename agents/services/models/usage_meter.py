"""The usage and cost of calls of models; a model without a price is counted and said."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from agents.services.models.answer import TokenCount
from agents.services.models.prices import ModelPrices, usage_of
from schemas.records import Usage
from streams import metrics

log = structlog.get_logger()


class UsageMeter:
    """Makes the usage of the calls of one service.

    Args:
        service: its name, for metrics and the log.
        prices: for the cost.
    """

    def __init__(self, service: str, prices: ModelPrices) -> None:
        self._service = service
        self._prices = prices
        self._unpriced: set[str] = set()

    def usage(
        self, model: str, tokens: TokenCount | None, prompt: Sequence[str], answer: str
    ) -> Usage:
        """The usage of a call; estimated without ``tokens``."""
        self._look_at_price(model)
        return usage_of(
            self._prices,
            model,
            None if tokens is None else tokens.counted,
            prompt_chars=sum(map(len, prompt)),
            answer_chars=len(answer),
        )

    def _look_at_price(self, model: str) -> None:
        """Count and say, once for each model, that its calls cost nothing in our figures."""
        if self._prices.cost_micros(model, 0, 0) is not None:
            return
        metrics.MODELS_UNPRICED.labels(self._service, model).inc()
        if model not in self._unpriced:
            self._unpriced.add(model)
            log.warning("model_has_no_price", service=self._service, model=model)
