"""A model as the service of a step: the wire, the money, the silence, and what is hostile."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agents.services.failure import ServiceError
from streams import metrics
from tests.agents.services.models.fake_model import (
    MAX_BYTES,
    Exchange,
    a_model,
    a_prompt,
    a_request,
)

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


async def refusal(exchange_script: Any, document: object, **client: Any) -> ServiceError:
    """How a call fails."""
    async with a_model(exchange_script) as model:
        with pytest.raises(ServiceError) as failed:
            await model.client(**client).call(a_request(document))
    return failed.value


async def test_an_answer_is_streamed_and_its_usage_is_priced() -> None:
    chunks: list[str] = []
    async with a_model(lambda asked: asked.whole("Hel", "lo")) as model:
        answer = await model.client().call(a_request(a_prompt()), on_chunk=chunks.append)

    assert chunks == ["Hel", "lo"]
    assert json.loads(answer.output) == {"text": "Hello", "model": "first", "finish_reason": "stop"}
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (10, 3)
    # 10 tokens at 1 USD and 3 at 2 USD a million.
    assert (answer.usage.cost_micros, answer.usage.estimated) == (16, False)
    [asked] = model.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["idempotency-key"] == "task_1/1/generate/1"
    assert asked.body["messages"] == [{"role": "user", "content": "Hello Ada"}]


async def test_a_server_that_does_not_stream_or_count_is_taken_as_it_is() -> None:
    async def script(asked: Exchange) -> None:
        await asked.head(content_type="application/json")
        message = {"role": "assistant", "content": "Hi"}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        await asked.send(json.dumps({"choices": choices}).encode())

    async with a_model(script) as model:
        answer = await model.client().call(a_request(a_prompt()))

    assert json.loads(answer.output)["text"] == "Hi"
    assert answer.usage is not None
    assert answer.usage.estimated


async def test_a_model_without_a_price_is_counted_and_costs_nothing() -> None:
    before = metrics.MODELS_UNPRICED.labels("writer", "second")._value.get()
    async with a_model(lambda asked: asked.whole("Hi")) as model:
        answer = await model.client("second").call(a_request(a_prompt()))

    assert answer.usage is not None
    assert (answer.usage.model, answer.usage.cost_micros) == ("second", 0)
    assert metrics.MODELS_UNPRICED.labels("writer", "second")._value.get() == before + 1


async def test_an_answer_with_a_schema_is_a_value() -> None:
    async with a_model(lambda asked: asked.whole('{"n":', " 7}")) as model:
        answer = await model.client().call(a_request(a_prompt(schema=SCHEMA)))

    assert json.loads(answer.output)["value"] == {"n": 7}
    assert model.asked[0].body["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize("text", ['{"n": "seven"}', "seven", '{"n": 7'])
async def test_an_answer_that_breaks_its_schema_fails_and_may_be_tried_again(text: str) -> None:
    error = await refusal(lambda asked: asked.whole(text), a_prompt(schema=SCHEMA))
    assert (error.code, error.retriable) == ("MODEL_ANSWER_INVALID", True)


@pytest.mark.parametrize(
    "reference", ["https://127.0.0.1:1/schema.json", "#/$defs/none", "file:///etc/passwd", "#"]
)
async def test_a_schema_whose_reference_leads_nowhere_is_no_prompt(reference: str) -> None:
    schema = {"$ref": reference}
    error = await refusal(lambda asked: asked.whole('{"n": 7}'), a_prompt(schema=schema))
    assert (error.code, error.retriable) == ("MODEL_PROMPT_INVALID", False)


async def test_a_model_that_fails_is_followed_by_the_next_one() -> None:
    async def script(asked: Exchange) -> None:
        if asked.body["model"] == "first":
            await asked.refuse(500, {"message": "broken"})
        else:
            await asked.whole("Hi")

    before = metrics.MODEL_FALLBACKS.labels("writer", "first")._value.get()
    async with a_model(script) as model:
        answer = await model.client("first|second").call(a_request(a_prompt()))

    assert json.loads(answer.output)["model"] == "second"
    assert [asked.body["model"] for asked in model.asked] == ["first", "second"]
    assert metrics.MODEL_FALLBACKS.labels("writer", "first")._value.get() == before + 1


async def test_nobody_is_asked_again_once_a_piece_was_passed_on() -> None:
    async def script(asked: Exchange) -> None:
        await asked.head()
        await asked.piece("Hel")

    chunks: list[str] = []
    async with a_model(script) as model:
        with pytest.raises(ServiceError) as failed:
            await model.client("first|second").call(a_request(a_prompt()), on_chunk=chunks.append)

    assert (failed.value.code, chunks) == ("SERVICE_UNAVAILABLE", ["Hel"])
    assert len(model.asked) == 1


async def test_a_refused_input_is_not_given_to_the_next_model() -> None:
    async def script(asked: Exchange) -> None:
        await asked.refuse(400, {"code": "context_length_exceeded", "message": "too long"})

    async with a_model(script) as model:
        with pytest.raises(ServiceError) as failed:
            await model.client("first|second").call(a_request(a_prompt()))
    assert (failed.value.code, failed.value.retriable) == ("MODEL_CONTEXT_TOO_LONG", False)
    assert len(model.asked) == 1


@pytest.mark.parametrize(
    ("status", "error", "code", "retriable"),
    [
        (400, {"message": "the maximum context length is 8"}, "MODEL_CONTEXT_TOO_LONG", False),
        (400, {"code": "content_filter"}, "MODEL_CONTENT_FILTERED", False),
        (400, {"message": "no"}, "SERVICE_REFUSED", False),
        (401, {"message": "no"}, "SERVICE_ACCESS_DENIED", False),
        (404, {"code": "model_not_found"}, "MODEL_NOT_FOUND", True),
        (429, {"code": "insufficient_quota"}, "MODEL_QUOTA_EXCEEDED", True),
        (429, {"code": "rate_limit_exceeded"}, "SERVICE_OVERLOADED", True),
        (500, "no object", "SERVICE_FAILED", True),
        (529, {"type": "overloaded_error"}, "SERVICE_UNAVAILABLE", True),
        (503, None, "SERVICE_UNAVAILABLE", True),
    ],
)
async def test_failures_of_a_provider_have_the_codes_of_the_table(
    status: int, error: object, code: str, retriable: bool
) -> None:
    found = await refusal(lambda asked: asked.refuse(status, error), a_prompt())
    assert (found.code, found.retriable) == (code, retriable)


async def test_the_time_of_a_provider_that_is_asked_too_often_is_kept() -> None:
    found = await refusal(
        lambda asked: asked.refuse(429, {"code": "rate_limit_exceeded"}, retry_after="7"),
        a_prompt(),
    )
    assert found.retry_after_ms == 7_000


async def test_a_failure_is_known_by_its_status_if_its_body_does_not_come() -> None:
    async def stalls(asked: Exchange) -> None:
        await asked.head(503)
        await asked.gone.wait()

    found = await refusal(stalls, a_prompt(), first_token_s=0.2)
    assert found.code == "SERVICE_UNAVAILABLE"


async def test_what_a_provider_says_is_shown_without_keys_and_addresses() -> None:
    said = {"message": "Incorrect API key provided: sk-proj-ab****cd of org-Abc1 at 10.0.0.5:8000"}
    found = await refusal(lambda asked: asked.refuse(401, said), a_prompt())
    shown = str(found)
    assert "Incorrect API key provided" in shown
    assert not any(secret in shown for secret in ("sk-proj", "org-Abc1", "10.0.0.5"))


@pytest.mark.parametrize(
    "counted",
    [
        {"prompt_tokens": -5, "completion_tokens": 3},
        {"prompt_tokens": 10**24, "completion_tokens": 3},
    ],
)
async def test_counts_that_are_none_are_not_taken(counted: dict[str, int]) -> None:
    async def wrong(asked: Exchange) -> None:
        await asked.head()
        await asked.piece("Hi")
        await asked.event({"choices": None, "usage": counted})
        await asked.event({"choices": [{"delta": None, "finish_reason": "stop"}]})
        await asked.send(b"data: [DONE]\n\n")

    async with a_model(wrong) as model:
        answer = await model.client().call(a_request(a_prompt()))
    assert answer.usage is not None
    assert answer.usage.estimated
    assert 0 <= answer.usage.input_tokens < 10**9


@pytest.mark.parametrize("finish", ["content_filter"])
async def test_a_filtered_answer_is_no_answer(finish: str) -> None:
    found = await refusal(lambda asked: asked.whole("Hi", finish=finish), a_prompt())
    assert (found.code, found.retriable) == ("MODEL_CONTENT_FILTERED", False)


@pytest.mark.parametrize("head", [True, False], ids=["behind the head", "from the beginning"])
async def test_a_model_that_says_nothing_is_given_up(head: bool) -> None:
    async def silent(asked: Exchange) -> None:
        if head:
            await asked.head()
        await asked.gone.wait()

    found = await refusal(silent, a_prompt(), first_token_s=0.1)
    assert (found.code, found.retriable) == ("MODEL_STALLED", True)


async def test_a_model_that_stops_in_the_middle_is_given_up() -> None:
    async def stopping(asked: Exchange) -> None:
        await asked.head()
        await asked.piece("Hel")
        await asked.gone.wait()

    found = await refusal(stopping, a_prompt(), between_tokens_s=0.1)
    assert found.code == "MODEL_STALLED"


async def test_a_cancel_closes_the_stream() -> None:
    begun = asyncio.Event()

    async def endless(asked: Exchange) -> None:
        await asked.head()
        await asked.piece("Hel")
        begun.set()
        await asked.gone.wait()

    async with a_model(endless) as model:
        call = asyncio.create_task(model.client().call(a_request(a_prompt())))
        async with asyncio.timeout(10):
            await begun.wait()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await model.asked[0].gone.wait()
    assert call.cancelled()


HOSTILE: dict[str, bytes] = {
    "no JSON": b"data: {\n\n",
    "another type": b'data: {"choices": 7}\n\n',
    "a failure in the stream": b'data: {"error": {"message": "no"}}\n\n',
    "no end": b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n',
    "done without an answer": b"data: [DONE]\n\n",
    "nothing": b"",
    "a lone surrogate": b'data: {"choices": [{"delta": {"content": "\\ud800"}}]}\n\n',
    "not UTF-8": b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n',
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_a_stream_that_is_no_answer_fails(what: str) -> None:
    async def script(asked: Exchange) -> None:
        await asked.head()
        await asked.send(HOSTILE[what])

    found = await refusal(script, a_prompt())
    assert found.code in ("SERVICE_RESPONSE_INVALID", "SERVICE_UNAVAILABLE")


@pytest.mark.parametrize(
    "endless",
    [b"data: " + b"x" * 60_000, b": comment\n" * 6_000, b"data: x\n" * 6_000],
    ids=["one line", "comments", "one event"],
)
async def test_an_endless_stream_is_cut_off(endless: bytes) -> None:
    async def script(asked: Exchange) -> None:
        await asked.head()
        for _ in range(200):
            await asked.send(endless)

    found = await refusal(script, a_prompt())
    assert found.code == "SERVICE_MESSAGE_TOO_LARGE"


async def test_a_text_of_many_pieces_is_cut_off_at_the_limit() -> None:
    async def script(asked: Exchange) -> None:
        await asked.whole(*["x" * 1_000] * (MAX_BYTES // 1_000 + 1))

    assert (await refusal(script, a_prompt())).code == "SERVICE_MESSAGE_TOO_LARGE"


async def test_bytes_behind_an_answer_reach_no_other_call() -> None:
    async def script(asked: Exchange) -> None:
        await asked.whole(asked.body["messages"][0]["content"])
        await asked.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno")

    async with a_model(script) as model:
        client = model.client()
        answers = [
            await client.call(a_request(a_prompt("{{name}}", values={"name": str(n)})))
            for n in range(5)
        ]
    assert [json.loads(a.output)["text"] for a in answers] == ["0", "1", "2", "3", "4"]


async def test_texts_become_vectors_in_their_order() -> None:
    async def script(asked: Exchange) -> None:
        await asked.head(content_type="application/json")
        data = [{"index": n, "embedding": [float(n), 0.5]} for n in (1, 0)]
        await asked.send(json.dumps({"data": data, "usage": {"prompt_tokens": 4}}).encode())

    async with a_model(script) as model:
        answer = await model.client().call(a_request({"texts": ["a", "b"]}, method="Embed"))

    assert json.loads(answer.output)["vectors"] == [[0.0, 0.5], [1.0, 0.5]]
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.cost_micros) == (4, 4)
    assert model.asked[0].path == "/v1/embeddings"


@pytest.mark.parametrize("indexes", [[0], [0, 0], [0, 1, 2], [1, 2]])
async def test_another_number_of_vectors_is_no_answer(indexes: list[int]) -> None:
    async def script(asked: Exchange) -> None:
        await asked.head(content_type="application/json")
        data = [{"index": n, "embedding": [0.5]} for n in indexes]
        await asked.send(json.dumps({"data": data}).encode())

    async with a_model(script) as model:
        with pytest.raises(ServiceError) as failed:
            await model.client().call(a_request({"texts": ["a", "b"]}, method="Embed"))
    assert failed.value.code == "SERVICE_RESPONSE_INVALID"


@pytest.mark.parametrize(
    "document",
    [
        {"messages": []},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": "{{missing}}"}]},
        {"messages": [{"role": "user", "content": "a"}], "unknown": 1},
        {"messages": [{"role": "user", "content": "a"}], "schema": {"type": "no type"}},
        {"query": "a"},
    ],
)
async def test_an_input_that_is_no_prompt_is_refused_before_a_call(document: object) -> None:
    async with a_model(lambda asked: asked.whole("Hi")) as model:
        with pytest.raises(ServiceError) as failed:
            await model.client().call(a_request(document))
    assert (failed.value.code, model.asked) == ("MODEL_PROMPT_INVALID", [])


async def test_values_are_text_and_no_places_of_their_own() -> None:
    async with a_model(lambda asked: asked.whole("Hi")) as model:
        prompt = a_prompt("{{a}} {{b}}", values={"a": "{{b}}", "b": [1, {"c": "d"}]})
        history = [{"role": "assistant", "content": "{{a}}"}]
        await model.client().call(a_request({**prompt, "history": history}))

    sent = [message["content"] for message in model.asked[0].body["messages"]]
    assert sent == ["{{a}}", '{{b}} [1,{"c":"d"}]']
