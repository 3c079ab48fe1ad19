"""The method ``Embed`` of a model: texts in, a vector for each out."""

from __future__ import annotations

import msgspec

from agents.services import failure
from agents.services.client import StepRequest, StepResponse
from agents.services.models.answer import Embeddings, TokenCount
from agents.services.models.api import ModelApi
from agents.services.models.exchange import ModelExchange
from agents.services.models.prompt import read_embed
from agents.services.models.usage_meter import UsageMeter
from schemas.records import Json


class EmbedCall:
    """One attempt of a step with the method ``Embed``.

    Args:
        api: the server.
        meter: makes the usage.
        request: of the step.

    Raises:
        PromptError: the step's input is not that of ``Embed``.
    """

    passed_on = False
    """Nothing of the vectors is shown before they are whole."""

    def __init__(self, api: ModelApi, meter: UsageMeter, request: StepRequest) -> None:
        self._api = api
        self._meter = meter
        self._request = request
        self._texts = read_embed(request.input).texts

    async def ask(self, model: str) -> StepResponse:
        """Ask one model; raises ServiceError."""
        exchange = ModelExchange(model, self._texts, self._meter, self._request)
        body = msgspec.json.encode({"model": model, "input": self._texts})
        with exchange.settled():
            async with self._api.posted("/embeddings", body, exchange) as response:
                found = await self._api.decoded(response, Embeddings)
            exchange.tokens = found.usage and TokenCount(found.usage.prompt_tokens)
            ordered = sorted(found.data, key=lambda one: one.index)
            if [one.index for one in ordered] != list(range(len(self._texts))):
                raise self._api.error(failure.RESPONSE_INVALID, "not one vector for each text")
        document = {"vectors": [one.embedding for one in ordered], "model": model}
        return exchange.answered(Json(msgspec.json.encode(document).decode()))
