"""The method ``Chat`` of a model: a prompt in, an answer out that is shown as it grows."""

from __future__ import annotations

from typing import Any

import jsonschema
import msgspec
import referencing
from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator

from agents.services import failure
from agents.services.client import OnChunk, StepRequest, StepResponse
from agents.services.models import refusals
from agents.services.models.answer import AnswerTooLongError, GrowingAnswer, output_of
from agents.services.models.api import ModelApi
from agents.services.models.exchange import ModelExchange
from agents.services.models.prompt import ChatInput, PromptError, read_chat, rendered
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
        self._given = read_chat(request.input)
        self._messages = rendered(self._given)
        self._validator = _validator(self._given)
        self._on_chunk = on_chunk
        self.passed_on = False
        """Whether a piece of an answer was shown."""

    async def ask(self, model: str) -> StepResponse:
        """Ask one model; raises ServiceError, or PromptError for a schema that leads nowhere."""
        prompt = [message["content"] for message in self._messages]
        exchange = ModelExchange(model, prompt, self._meter, self._request)
        with exchange.settled():
            answer = await self._answer(model, exchange)
            output = self._output(model, answer)
        return exchange.answered(output)

    async def _answer(self, model: str, exchange: ModelExchange) -> GrowingAnswer:
        answer = GrowingAnswer(self._api.max_bytes)
        body = self._body(model)
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
            exchange.tokens, exchange.text = answer.tokens, answer.text
        return answer

    def _body(self, model: str) -> bytes:
        given = self._given
        document: dict[str, Any] = {
            "model": model,
            "messages": self._messages,
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

    def _pass_on(self, text: str) -> None:
        """Show a piece of the answer to watchers."""
        if text and self._on_chunk is not None:
            self.passed_on = True
            self._on_chunk(text)

    def _output(self, model: str, answer: GrowingAnswer) -> Json:
        if answer.finish_reason is None:
            message = "the answer ended before it was complete"
            raise self._api.error(failure.UNAVAILABLE, message)
        if answer.finish_reason == "content_filter" or answer.refused:
            raise self._api.error(refusals.CONTENT_FILTERED, "the provider refused to answer")
        value = None if self._validator is None else self._value(answer.text, self._validator)
        return Json(output_of(answer, model, value))

    def _value(self, text: str, validator: Validator) -> Any:
        try:
            value = msgspec.json.decode(text.encode())
        except (msgspec.DecodeError, UnicodeError):
            raise self._api.error(refusals.ANSWER_INVALID, "the answer is not JSON") from None
        try:
            valid = validator.is_valid(value)
        except (referencing.exceptions.Unresolvable, RecursionError):
            raise PromptError("schema has a reference that leads nowhere") from None
        if not valid:
            message = "the answer does not satisfy the schema"
            raise self._api.error(refusals.ANSWER_INVALID, message)
        return value


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
