"""A model behind OpenAI's API as the service of a step: ``Chat`` and ``Embed``.

Each call has a connection of its own, which is closed after it: an answer cannot be taken for
that of another call, and a cancel ends the stream at once. Beside the time of a model the time
of a handshake is small.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import jsonschema
import msgspec
import referencing
import structlog
from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator

from agents.services import failure
from agents.services.client import OnChunk, StepRequest, StepResponse
from agents.services.failure import ServiceError, Verdict
from agents.services.headers import ServiceHeaders
from agents.services.models import refusals
from agents.services.models.address import ModelAddress
from agents.services.models.answer import (
    AnswerTooLongError,
    Embeddings,
    GrowingAnswer,
    Part,
    TokenCount,
    output_of,
)
from agents.services.models.event_stream import EventDecoder, StreamTooLargeError
from agents.services.models.prices import ModelPrices, usage_of
from agents.services.models.prompt import (
    ChatInput,
    PromptError,
    read_chat,
    read_embed,
    rendered,
)
from agents.services.sending import IDEMPOTENCY_KEY, is_sendable, sendable_trace
from agents.services.service_tls import ServiceTls
from schemas.records import Json, Usage
from streams import metrics
from streams.cancellation import this_task_is_cancelled

log = structlog.get_logger()

CONNECT_TIMEOUT_S = 5.0
_ERROR_BODY_MAX_BYTES = 16 * 1024
_STREAM_OVERHEAD = 64
"""A stream may be so many times larger than the text in it: an event holds a few characters."""
_DONE = b"[DONE]"
_EVENTS = "text/event-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTimes:
    """How long a model may be silent, in seconds."""

    first_token_s: float = 60.0
    between_tokens_s: float = 20.0


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
    ) -> None:
        self._address = address
        self._service = service
        self._max_bytes = max_message_bytes
        self._prices = prices
        self._times = times
        self._tls = tls
        self._headers = headers or ServiceHeaders()
        self._closed = False
        self._unpriced: set[str] = set()
        self._open: set[httpx.AsyncClient] = set()

    def __repr__(self) -> str:
        return f"ModelClient({self._service!r}, {', '.join(self._address.models)})"

    async def call(self, request: StepRequest, *, on_chunk: OnChunk | None = None) -> StepResponse:
        """Run one attempt, as :class:`~agents.services.client.StepClient` promises.

        Within an attempt each model is asked at most once.
        """
        if request.timeout_s <= 0:
            raise self._error(failure.TIMED_OUT, "there was no time left for the call")
        if not is_sendable(request.idempotency_key):
            raise self._error(failure.UNSENDABLE, "the idempotency key is not printable ASCII")
        try:
            async with asyncio.timeout(request.timeout_s):
                return await self._answered(request, on_chunk)
        except TimeoutError:
            raise self._error(failure.TIMED_OUT, "no answer in time") from None
        except PromptError as error:
            raise self._error(refusals.PROMPT_INVALID, str(error)) from None
        except asyncio.CancelledError:
            if this_task_is_cancelled():
                raise
            raise self._error(failure.UNAVAILABLE, "the connection was closed") from None

    async def close(self) -> None:
        """Close all connections; calls in flight fail. Idempotent."""
        self._closed = True
        for http in list(self._open):
            await http.aclose()

    async def _answered(self, request: StepRequest, on_chunk: OnChunk | None) -> StepResponse:
        match request.method:
            case "Chat":
                given = read_chat(request.input)
                messages = rendered(given)
                validator = _validator(given)
                call = _Chat(given, messages, validator, on_chunk)
                return await self._of_first_that_answers(
                    lambda model: self._chat(model, call, request),
                    lambda: call.passed_on,
                )
            case "Embed":
                texts = read_embed(request.input).texts
                return await self._of_first_that_answers(
                    lambda model: self._embed(model, texts, request), lambda: False
                )
        message = "a model has the methods Chat and Embed"
        raise self._error(failure.METHOD_UNKNOWN, message)

    async def _of_first_that_answers(
        self, ask: Callable[[str], Awaitable[StepResponse]], began: Callable[[], bool]
    ) -> StepResponse:
        models = self._address.models
        for model in models:
            try:
                return await ask(model)
            except ServiceError as error:
                last = model == models[-1]
                if last or began() or not error.retriable:
                    raise
                log.warning("model_falls_back", service=self._service, model=model, code=error.code)
                metrics.MODEL_FALLBACKS.labels(self._service, model).inc()
        raise AssertionError("an address names a model")

    async def _chat(self, model: str, call: _Chat, request: StepRequest) -> StepResponse:
        answer = GrowingAnswer(self._max_bytes)
        body = call.body(model)
        async with self._posted("/chat/completions", body, request) as response:
            try:
                async for part in self._parts(response):
                    if part.error is not None:
                        raise self._error(failure.UNAVAILABLE, "the stream reports a failure")
                    call.pass_on(answer.add(part))
            except AnswerTooLongError:
                raise self._error(failure.RESPONSE_TOO_LARGE, "the answer is too long") from None
        return self._chat_response(model, call, answer)

    def _chat_response(self, model: str, call: _Chat, answer: GrowingAnswer) -> StepResponse:
        if answer.finish_reason is None:
            raise self._error(failure.UNAVAILABLE, "the answer ended before it was complete")
        if answer.finish_reason == "content_filter" or answer.refused:
            raise self._error(refusals.CONTENT_FILTERED, "the provider refused to answer")
        value = None if call.validator is None else self._value(answer.text, call.validator)
        prompt = [message["content"] for message in call.messages]
        usage = self._usage(model, answer.tokens, prompt, answer.text)
        return StepResponse(output=Json(output_of(answer, model, value)), usage=usage)

    async def _embed(self, model: str, texts: list[str], request: StepRequest) -> StepResponse:
        body = msgspec.json.encode({"model": model, "input": texts})
        async with self._posted("/embeddings", body, request) as response:
            content = await self._whole(response)
        try:
            found = msgspec.json.decode(content, type=Embeddings)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._error(failure.RESPONSE_INVALID, str(error)) from None
        ordered = sorted(found.data, key=lambda one: one.index)
        if [one.index for one in ordered] != list(range(len(texts))):
            raise self._error(failure.RESPONSE_INVALID, "not one vector for each text")
        tokens = found.usage and TokenCount(found.usage.prompt_tokens)
        usage = self._usage(model, tokens, texts, "")
        document = {"vectors": [one.embedding for one in ordered], "model": model}
        return StepResponse(output=Json(msgspec.json.encode(document).decode()), usage=usage)

    @asynccontextmanager
    async def _posted(
        self, path: str, body: bytes, request: StepRequest
    ) -> AsyncIterator[httpx.Response]:
        """Post a body on a connection of its own; failures of every kind become ServiceErrors."""
        if self._closed:
            raise self._error(failure.UNAVAILABLE, "the client is closed")
        if len(body) > self._max_bytes:
            raise self._error(failure.UNSENDABLE, f"the request has {len(body)} bytes")
        headers = [
            ("content-type", "application/json"),
            ("accept", f"{_EVENTS}, application/json"),
            ("accept-encoding", "identity"),
            (IDEMPOTENCY_KEY, request.idempotency_key),
            *sendable_trace(request.trace),
            *self._headers.current(),
        ]
        url = self._address.url + path
        async with self._client() as http:
            try:
                async with http.stream("POST", url, content=body, headers=headers) as response:
                    await self._check(response)
                    yield response
            except (httpx.HTTPError, httpx.StreamError, OSError) as error:
                verdict = failure.verdict_of_exception(_cause(error))
                reason = type(error).__name__
                raise self._error(verdict, f"the connection failed: {reason}") from None

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        if self._tls is not None:
            self._tls.refresh()
        http = httpx.AsyncClient(
            verify=self._tls.context if self._tls else False,
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=0),
            trust_env=False,
            follow_redirects=False,
        )
        self._open.add(http)
        try:
            yield http
        finally:
            self._open.discard(http)
            await http.aclose()

    async def _check(self, response: httpx.Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise self._error(failure.RESPONSE_INVALID, "the answer is encoded")
        if response.status_code == 200:
            return
        content = bytearray()
        async for piece in response.aiter_raw():
            content += piece
            if len(content) >= _ERROR_BODY_MAX_BYTES:
                break
        body = bytes(content[:_ERROR_BODY_MAX_BYTES])
        verdict, message = refusals.verdict_of(response.status_code, body)
        after_ms = _retry_after_ms(response.headers)
        raise self._error(verdict, message, retry_after_ms=after_ms)

    async def _parts(self, response: httpx.Response) -> AsyncIterator[Part]:
        """The parts of an answer, streamed or whole; a silent model is given up."""
        if not response.headers.get("content-type", "").startswith(_EVENTS):
            yield self._part(await self._whole(response))
            return
        stream = EventDecoder(
            event_max_bytes=self._max_bytes, max_bytes=self._max_bytes * _STREAM_OVERHEAD
        )
        pieces = response.aiter_raw().__aiter__()
        wait_s = self._times.first_token_s
        try:
            while (piece := await self._next(pieces, wait_s)) is not None:
                wait_s = self._times.between_tokens_s
                for data in stream.feed(piece):
                    if data.strip() == _DONE:
                        return
                    yield self._part(data)
        except StreamTooLargeError:
            raise self._error(failure.RESPONSE_TOO_LARGE, "the stream is too large") from None

    async def _next(self, pieces: AsyncIterator[bytes], wait_s: float) -> bytes | None:
        """The next bytes; None at the end."""
        try:
            async with asyncio.timeout(wait_s):
                return await anext(pieces, None)
        except TimeoutError:
            raise self._error(refusals.STALLED, f"no token in {wait_s:g} s") from None

    async def _whole(self, response: httpx.Response) -> bytes:
        content = bytearray()
        pieces = response.aiter_raw().__aiter__()
        while (piece := await self._next(pieces, self._times.first_token_s)) is not None:
            content += piece
            if len(content) > self._max_bytes:
                raise self._error(failure.RESPONSE_TOO_LARGE, "the answer is too large")
        return bytes(content)

    def _part(self, data: bytes) -> Part:
        try:
            return msgspec.json.decode(data, type=Part)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._error(failure.RESPONSE_INVALID, str(error)) from None

    def _value(self, text: str, validator: Validator) -> Any:
        try:
            value = msgspec.json.decode(text.encode())
        except (msgspec.DecodeError, UnicodeError):
            raise self._error(refusals.ANSWER_INVALID, "the answer is not JSON") from None
        try:
            valid = validator.is_valid(value)
        except (referencing.exceptions.Unresolvable, RecursionError):
            raise PromptError("schema has a reference that leads nowhere") from None
        if not valid:
            raise self._error(refusals.ANSWER_INVALID, "the answer does not satisfy the schema")
        return value

    def _usage(
        self, model: str, tokens: TokenCount | None, prompt: Sequence[str], answer: str
    ) -> Usage:
        self._look_at_price(model)
        return usage_of(
            self._prices,
            model,
            None if tokens is None else (tokens.prompt_tokens, tokens.completion_tokens),
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

    def _error(
        self, verdict: Verdict, message: str, *, retry_after_ms: int | None = None
    ) -> ServiceError:
        return ServiceError(verdict, message, service=self._service, retry_after_ms=retry_after_ms)


class _Chat:
    """What all models of an attempt are asked, and how much of an answer was passed on."""

    def __init__(
        self,
        given: ChatInput,
        messages: list[dict[str, str]],
        validator: Validator | None,
        on_chunk: OnChunk | None,
    ) -> None:
        self._given = given
        self.messages = messages
        self.validator = validator
        self._on_chunk = on_chunk
        self.passed_on = False

    def body(self, model: str) -> bytes:
        """The request."""
        given = self._given
        document: dict[str, Any] = {
            "model": model,
            "messages": self.messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if given.temperature is not None:
            document["temperature"] = given.temperature
        if given.max_tokens is not None:
            document["max_tokens"] = given.max_tokens
        if given.schema is not None:
            schema = {"name": "answer", "schema": given.schema}
            document["response_format"] = {"type": "json_schema", "json_schema": schema}
        return msgspec.json.encode(document)

    def pass_on(self, text: str) -> None:
        """Show a piece of the answer to watchers."""
        if text and self._on_chunk is not None:
            self.passed_on = True
            self._on_chunk(text)


def _validator(given: ChatInput) -> Validator | None:
    """The validator of a prompt's schema; PromptError if it is none. Fetches nothing."""
    if given.schema is None:
        return None
    kind = jsonschema.validators.validator_for(given.schema, default=Draft202012Validator)
    try:
        kind.check_schema(given.schema)
    except jsonschema.SchemaError as error:
        raise PromptError(f"schema is no JSON Schema: {error.message[:200]}") from None
    return kind(given.schema, registry=referencing.Registry())


def _cause(error: Exception) -> Exception:
    """The error of the socket or of TLS below one of the library; the error itself without one."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, OSError):
            return below
        below = below.__cause__ or below.__context__
    return OSError(type(error).__name__)


def _retry_after_ms(headers: httpx.Headers) -> int | None:
    """``retry-after`` in seconds, or ``retry-after-ms``."""
    exact = failure.retry_after_of(headers.get("retry-after-ms"))
    seconds = failure.retry_after_of(headers.get("retry-after"))
    if exact is not None:
        return exact
    return None if seconds is None else min(seconds * 1000, failure.RETRY_AFTER_MAX_MS)
