"""The method ``Chat`` of a model: a prompt in, an answer out that is shown as it grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
from jsonschema.protocols import Validator

from agents.services import failure
from agents.services.client import OnChunk, OnSpent, StepRequest, StepResponse
from agents.services.models import refusals
from agents.services.models.answer import AnswerTooLongError, GrowingAnswer, output_of
from agents.services.models.api import ModelApi
from agents.services.models.exchange import ModelExchange
from agents.services.models.prompt import read_chat, rendered
from agents.services.models.schema import is_valid, validator_of
from agents.services.models.usage_meter import UsageMeter
from schemas.records import Json


class ChatCall:
    """One attempt of a step with the method ``Chat``.

    Args:
        api: the server.
        meter: makes the usage.
        request: of the step.
        on_chunk: gets the pieces of the answer.

    Raises:
        PromptError: the step's input is not that of ``Chat``.
    """

    def __init__(
        self, api: ModelApi, meter: UsageMeter, request: StepRequest, on_chunk: OnChunk | None
    ) -> None:
        self._api = api
        self._meter = meter
        self._request = request
        self.given = read_chat(request.input)
        """The step's input."""
        self.messages: list[dict[str, Any]] = list(rendered(self.given))
        """The prompt with its values, as it is sent."""
        schema = self.given.schema
        self._validator = None if schema is None else validator_of(schema)
        self._on_chunk = on_chunk
        self.passed_on = False
        """Whether a piece of an answer was shown."""

    async def ask(self, model: str) -> StepResponse:
        """Ask one model; raises ServiceError, or PromptError for a schema that leads nowhere."""
        exchange = self._exchange(model, self.messages, self._request)
        with exchange.settled():
            answer = await self._answer(exchange, self.messages, ())
            output = self.output(model, answer)
        return exchange.answered(output)

    async def turn(
        self,
        model: str,
        messages: Sequence[dict[str, Any]],
        functions: Sequence[dict[str, Any]],
        on_spent: OnSpent,
    ) -> tuple[GrowingAnswer, ModelExchange]:
        """The complete answer of one model to a conversation, which may call tools.

        Args:
            model: which is asked.
            messages: the conversation.
            functions: the tools that the model may call.
            on_spent: takes the call if it fails.

        Raises:
            ServiceError: the model failed, or refused.
        """
        exchange = self._exchange(model, messages, replace(self._request, on_spent=on_spent))
        with exchange.settled():
            answer = await self._answer(exchange, messages, functions)
        return answer, exchange

    def output(self, model: str, answer: GrowingAnswer) -> Json:
        """The output of the step; raises ServiceError if it breaks the schema."""
        value = None if self._validator is None else self._value(answer.text, self._validator)
        return Json(output_of(answer, model, value))

    def _exchange(
        self, model: str, messages: Sequence[dict[str, Any]], request: StepRequest
    ) -> ModelExchange:
        prompt = [message["content"] for message in messages]
        return ModelExchange(model, prompt, self._meter, request)

    async def _answer(
        self,
        exchange: ModelExchange,
        messages: Sequence[dict[str, Any]],
        functions: Sequence[dict[str, Any]],
    ) -> GrowingAnswer:
        answer = GrowingAnswer(self._api.max_bytes)
        body = self._body(exchange.model, messages, functions)
        try:
            async with self._api.posted("/chat/completions", body, exchange) as response:
                async for part in self._api.parts(response):
                    if part.error is not None:
                        raise self._api.error(failure.UNAVAILABLE, "the stream reports a failure")
                    self._pass_on(answer.add(part))
        except AnswerTooLongError:
            message = "the answer is too long"
            raise self._api.error(failure.RESPONSE_TOO_LARGE, message) from None
        finally:
            written = (call.arguments for call in answer.calls)
            exchange.tokens, exchange.text = answer.tokens, "".join([answer.text, *written])
        if answer.finish_reason is None:
            message = "the answer ended before it was complete"
            raise self._api.error(failure.UNAVAILABLE, message)
        if answer.finish_reason == "content_filter" or answer.refused:
            raise self._api.error(refusals.CONTENT_FILTERED, "the provider refused to answer")
        return answer

    def _body(
        self,
        model: str,
        messages: Sequence[dict[str, Any]],
        functions: Sequence[dict[str, Any]],
    ) -> bytes:
        given = self.given
        document: dict[str, Any] = {
            "model": model,
            "messages": messages,
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
        if functions:
            document["tools"] = functions
        return msgspec.json.encode(document)

    def _pass_on(self, text: str) -> None:
        """Show a piece of the answer to watchers."""
        if text and self._on_chunk is not None:
            self.passed_on = True
            self._on_chunk(text)

    def _value(self, text: str, validator: Validator) -> Any:
        try:
            value = msgspec.json.decode(text.encode())
        except (msgspec.DecodeError, UnicodeError):
            raise self._api.error(refusals.ANSWER_INVALID, "the answer is not JSON") from None
        if not is_valid(validator, value):
            message = "the answer does not satisfy the schema"
            raise self._api.error(refusals.ANSWER_INVALID, message)
        return value
