"""A model behind OpenAI's API as the service of a step: ``Chat`` and ``Embed``."""

from __future__ import annotations

import asyncio

import structlog

from agents.services import failure
from agents.services.client import OnChunk, StepRequest, StepResponse
from agents.services.failure import ServiceError
from agents.services.headers import ServiceHeaders
from agents.services.models import refusals
from agents.services.models.address import ModelAddress
from agents.services.models.api import ModelApi, ModelTimes
from agents.services.models.chat import ChatCall
from agents.services.models.embeddings import EmbedCall
from agents.services.models.prices import ModelPrices
from agents.services.models.prompt import PromptError
from agents.services.models.usage_meter import UsageMeter
from agents.services.sending import is_sendable
from agents.services.service_tls import ServiceTls
from streams import metrics
from streams.cancellation import this_task_is_cancelled

log = structlog.get_logger()


class ModelClient:
    """A :class:`~agents.services.client.StepClient` for a model.

    Models that are named after the first one are asked when the one before fails, as long as
    nothing of an answer was passed on. Belongs to the event loop of its first call.

    Args:
        address: of the API, with the models.
        service: the name for errors, as the pipeline knows it.
        max_message_bytes: size of a request and of the text of an answer, inclusive.
        prices: for the cost.
        times: how long a model may be silent.
        tls: for ``https``.
        headers: sent with each call, such as the key.
        server_name: of the certificate and of the header ``Host``; None: the host of the address.
    """

    def __init__(
        self,
        address: ModelAddress,
        *,
        service: str,
        max_message_bytes: int,
        prices: ModelPrices,
        times: ModelTimes,
        tls: ServiceTls | None = None,
        headers: ServiceHeaders | None = None,
        server_name: str | None = None,
    ) -> None:
        self._models = address.models
        self._service = service
        self._meter = UsageMeter(service, prices)
        self._api = ModelApi(
            address.url,
            service=service,
            max_message_bytes=max_message_bytes,
            times=times,
            tls=tls,
            headers=headers,
            server_name=server_name,
        )

    def __repr__(self) -> str:
        return f"ModelClient({self._service!r}, {', '.join(self._models)})"

    async def call(self, request: StepRequest, *, on_chunk: OnChunk | None = None) -> StepResponse:
        """Run one attempt, as :class:`~agents.services.client.StepClient` promises.

        Within an attempt each model is asked at most once.
        """
        if request.timeout_s <= 0:
            raise self._api.error(failure.TIMED_OUT, "there was no time left for the call")
        if not is_sendable(request.idempotency_key):
            message = "the idempotency key is not printable ASCII"
            raise self._api.error(failure.UNSENDABLE, message)
        try:
            async with asyncio.timeout(request.timeout_s):
                return await self._of_first_that_answers(self._prepared(request, on_chunk))
        except TimeoutError:
            raise self._api.error(failure.TIMED_OUT, "no answer in time") from None
        except PromptError as error:
            raise self._api.error(refusals.PROMPT_INVALID, str(error)) from None
        except asyncio.CancelledError:
            if this_task_is_cancelled():
                raise
            raise self._api.error(failure.UNAVAILABLE, "the connection was closed") from None

    async def close(self) -> None:
        """Close all connections; calls in flight fail. Idempotent."""
        await self._api.close()

    def _prepared(self, request: StepRequest, on_chunk: OnChunk | None) -> ChatCall | EmbedCall:
        match request.method:
            case "Chat":
                return ChatCall(self._api, self._meter, request, on_chunk)
            case "Embed":
                return EmbedCall(self._api, self._meter, request)
        message = "a model has the methods Chat and Embed"
        raise self._api.error(failure.METHOD_UNKNOWN, message)

    async def _of_first_that_answers(self, call: ChatCall | EmbedCall) -> StepResponse:
        for model in self._models:
            try:
                return await call.ask(model)
            except ServiceError as error:
                last = model == self._models[-1]
                if not error.called:
                    # All models are at this address; another instance of it may be there.
                    error.called = model != self._models[0]
                    raise
                if last or call.passed_on or not error.retriable:
                    raise
                log.warning("model_falls_back", service=self._service, model=model, code=error.code)
                metrics.MODEL_FALLBACKS.labels(self._service, model).inc()
        raise AssertionError("an address names a model")
