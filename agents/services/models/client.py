"""A model behind OpenAI's API as the service of a step: ``Chat`` and ``Embed``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn, Protocol, TypeVar

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
from agents.services.models.tools.loop import ToolLoop
from agents.services.models.tools.toolbox import Toolbox
from agents.services.models.usage_meter import UsageMeter
from agents.services.sending import is_sendable
from agents.services.service_tls import ServiceTls
from schemas.records import Millis
from streams import metrics
from streams.cancellation import this_task_is_cancelled
from streams.clock import now_ms

T = TypeVar("T", covariant=True)

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
        toolbox: what models may call; None: no tools.
        clock: Unix time in milliseconds, for the times of substeps.
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
        toolbox: Toolbox | None = None,
        clock: Callable[[], Millis] = now_ms,
    ) -> None:
        self._models = address.models
        self._service = service
        self._toolbox = toolbox or Toolbox(_no_client, frozenset())
        self._clock = clock
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

        Within an attempt each model is asked at most once; with tools, once in each iteration.
        """
        if request.timeout_s <= 0:
            raise self._api.error(failure.TIMED_OUT, "there was no time left for the call")
        if not is_sendable(request.idempotency_key):
            message = "the idempotency key is not printable ASCII"
            raise self._api.error(failure.UNSENDABLE, message)
        try:
            async with asyncio.timeout(request.timeout_s):
                return await self._answered(request, on_chunk)
        except TimeoutError:
            raise self._api.error(failure.TIMED_OUT, "no answer in time") from None
        except PromptError as error:
            raise self._api.error(refusals.PROMPT_INVALID, str(error), called=False) from None
        except asyncio.CancelledError:
            if this_task_is_cancelled():
                raise
            raise self._api.error(failure.UNAVAILABLE, "the connection was closed") from None

    async def close(self) -> None:
        """Close all connections; calls in flight fail. Idempotent."""
        await self._api.close()

    async def _answered(self, request: StepRequest, on_chunk: OnChunk | None) -> StepResponse:
        match request.method:
            case "Chat":
                chat = ChatCall(self._api, self._meter, request, on_chunk)
                if not chat.given.tools:
                    return await self._of_first_that_answers(chat)
                loop = ToolLoop(self._api, chat, request, toolbox=self._toolbox, clock=self._clock)
                return await loop.run(self._of_first_that_answers)
            case "Embed":
                embed = EmbedCall(self._api, self._meter, request)
                return await self._of_first_that_answers(embed)
        message = "a model has the methods Chat and Embed"
        raise self._api.error(failure.METHOD_UNKNOWN, message)

    async def _of_first_that_answers(self, call: _Asking[T]) -> T:
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


class _Asking(Protocol[T]):
    """What several models can be asked, one after the other."""

    @property
    def passed_on(self) -> bool:
        """Whether a piece of an answer was shown."""
        ...

    async def ask(self, model: str) -> T:
        """Ask one model; raises ServiceError."""
        ...


def _no_client(service: str) -> NoReturn:
    raise AssertionError(f"no tool may call {service}")
