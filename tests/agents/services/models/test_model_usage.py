"""Every call of a model is settled: what it consumed is told, however the call ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.services.client import StepResponse
from agents.services.failure import ServiceError
from agents.services.models.address import ModelAddress
from agents.services.models.api import ModelTimes
from agents.services.models.client import ModelClient
from agents.services.models.rates import rates_of
from schemas.records import SubStep
from streams import metrics
from tests.agents.services.models.fake_model import (
    PRICES,
    Exchange,
    Script,
    a_model,
    a_prompt,
    a_request,
)

SCHEMA = {"type": "object", "required": ["n"]}
RATES: dict[str, Any] = {
    "x_ratelimit_limit_requests": "60",
    "x_ratelimit_remaining_tokens": "149984",
    "x_ratelimit_reset_tokens": "6m0.5s",
}


async def settled(
    script: Script, document: Mapping[str, object], models: str = "first", timeout_s: float = 10.0
) -> tuple[StepResponse | ServiceError, list[SubStep]]:
    """How a call ended, and what was told of calls without an answer."""
    spent: list[SubStep] = []
    request = replace(a_request(document, timeout_s=timeout_s), on_spent=spent.append)
    async with a_model(script) as model:
        try:
            return await model.client(models).call(request), spent
        except ServiceError as error:
            return error, spent


async def test_an_answer_that_is_not_used_was_paid_for() -> None:
    error, [call] = await settled(lambda asked: asked.whole("no JSON"), a_prompt(schema=SCHEMA))

    assert isinstance(error, ServiceError)
    assert call.usage is not None
    assert (call.name, call.status) == ("Chat first", "failed")
    assert (call.usage.input_tokens, call.usage.output_tokens) == (10, 3)
    assert (call.usage.cost_micros, call.usage.estimated) == (16, False)
    assert call.error is not None
    assert call.error.code == "MODEL_ANSWER_INVALID"


async def test_the_model_that_was_followed_by_another_one_was_paid_for() -> None:
    async def script(asked: Exchange) -> None:
        await asked.whole('{"n": 1}' if asked.body["model"] == "second" else "no JSON")

    answer, [call] = await settled(script, a_prompt(schema=SCHEMA), "first|second")

    assert isinstance(answer, StepResponse)
    assert call.name == "Chat first"
    assert call.usage is not None
    assert call.usage.output_tokens == 3


async def broken_off(asked: Exchange) -> None:
    await asked.head()
    await asked.piece("x" * 40)


async def test_a_stream_that_breaks_off_is_an_estimate_of_what_came() -> None:
    _, [call] = await settled(broken_off, a_prompt("y" * 80))

    assert call.usage is not None
    assert call.usage.estimated
    assert (call.usage.input_tokens, call.usage.output_tokens) == (20, 10)


async def test_what_the_provider_counted_before_the_end_counts() -> None:
    async def script(asked: Exchange) -> None:
        await asked.head()
        await asked.event({"usage": {"prompt_tokens": 7, "completion_tokens": 1}})
        await asked.piece("x" * 40)

    _, [call] = await settled(script, a_prompt())

    assert call.usage is not None
    assert (call.usage.input_tokens, call.usage.output_tokens) == (7, 1)
    assert not call.usage.estimated


@pytest.mark.parametrize("end", ["cancelled", "timed out"])
async def test_a_call_that_was_given_up_in_the_middle_is_an_estimate(end: str) -> None:
    begun, spent = asyncio.Event(), list[SubStep]()

    async def script(asked: Exchange) -> None:
        await broken_off(asked)
        begun.set()
        await asked.gone.wait()

    async with a_model(script) as model:
        request = replace(a_request(a_prompt()), on_spent=spent.append)
        if end == "timed out":
            request = replace(request, timeout_s=0.3)
        call = asyncio.create_task(model.client().call(request, on_chunk=lambda _: None))
        async with asyncio.timeout(10):
            await begun.wait()
            if end == "cancelled":
                # What the server wrote is read in a later turn.
                while not call.done() and not spent:
                    await asyncio.sleep(0.02)
                    call.cancel()
            await asyncio.wait([call])

    assert spent[0].status == "cancelled"
    assert spent[0].usage is not None
    assert spent[0].usage.estimated
    assert spent[0].usage.input_tokens > 0


@pytest.mark.parametrize("status", [429, 500])
async def test_a_call_that_was_refused_consumed_nothing_and_its_rates_are_kept(status: int) -> None:
    async def script(asked: Exchange) -> None:
        await asked.refuse(status, {"message": "no"}, retry_after="2", **RATES)

    _, [call] = await settled(script, a_prompt())

    assert call.usage is None
    assert json.loads(call.output)["rate_limits"] == {
        "limit_requests": 60,
        "remaining_tokens": 149984,
        "reset_tokens_ms": 360_500,
        "retry_after_ms": 2_000,
    }


async def test_a_call_that_did_not_connect_consumed_nothing() -> None:
    spent: list[SubStep] = []
    client = ModelClient(
        ModelAddress("http://127.0.0.1:9/v1", ("first",)),
        service="writer",
        max_message_bytes=1000,
        prices=PRICES,
        times=ModelTimes(),
    )
    with pytest.raises(ServiceError) as failed:
        await client.call(replace(a_request(a_prompt()), on_spent=spent.append))

    assert not failed.value.called
    assert [call.usage for call in spent] == [None]


async def test_the_rates_of_an_answer_are_kept_with_it() -> None:
    async def script(asked: Exchange) -> None:
        await asked.head(**RATES)
        await asked.piece("Hi", "stop")

    unpriced = metrics.MODELS_UNPRICED.labels("writer", "limited")._value
    before = unpriced.get()
    answer, spent = await settled(script, a_prompt(), "limited")

    assert unpriced.get() == before + 1
    assert isinstance(answer, StepResponse)
    [kept] = answer.substeps
    assert (kept.status, kept.usage, spent) == ("completed", answer.usage, [])
    assert json.loads(kept.output)["rate_limits"]["reset_tokens_ms"] == 360_500


NAMES = [
    f"x-ratelimit-{what}-{kind}"
    for what in ("limit", "remaining", "reset")
    for kind in ("requests", "tokens")
]
VALUES = st.one_of(
    st.text("0123456789hms.-+ e٣", max_size=24),
    st.lists(st.sampled_from(["1", "60", "0.5", "9" * 20, "h", "m", "s", "ms"])).map("".join),
)


@given(st.dictionaries(st.sampled_from([*NAMES, "retry-after", "retry-after-ms"]), VALUES))
def test_rates_are_a_few_bounded_numbers_whatever_the_headers_are(headers: dict[str, str]) -> None:
    found = rates_of(headers, now_s=0.0)

    assert len(found) <= 7
    assert all(type(value) is int and 0 <= value < 10**15 for value in found.values())
