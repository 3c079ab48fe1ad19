"""Steps as decorated functions, called by the workers' own clients over both transports."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import msgspec
import pydantic
import pytest

from agents.services.failure import ServiceError
from ai_orchestrator import Call, Output, Refused, Steps, TryAgain
from ai_orchestrator.steps.documents import read_input
from ai_orchestrator.steps.failure import CallFailedError
from schemas.records import Usage
from tests.clients.python.a_step_service import a_request, called

SOON_S = 10.0

over_both = pytest.mark.parametrize("scheme", ["http", "grpc"])


class Text(msgspec.Struct):
    text: str


class Model(pydantic.BaseModel):
    text: str


@over_both
@pytest.mark.parametrize("wanted", [Text, Model])
async def test_the_input_is_typed_and_input_of_another_form_is_refused(
    scheme: str, wanted: Any
) -> None:
    steps = Steps()

    def shout(given: Any) -> Any:
        return wanted(text=given.text.upper())

    shout.__annotations__["given"] = wanted
    steps.step("shout")(shout)
    async with called(steps, scheme) as client:
        answer = await client.call(a_request("shout", '{"text": "zwölf"}'))
        with pytest.raises(ServiceError) as refused:
            await client.call(a_request("shout", '{"text": 17017}'))

    assert json.loads(answer.output) == {"text": "ZWÖLF"}
    assert (refused.value.code, refused.value.detail_code) == ("SERVICE_REFUSED", "INPUT_INVALID")
    assert "text" in refused.value.message
    assert "17017" not in refused.value.message


def test_a_value_that_is_refused_is_not_repeated() -> None:
    with pytest.raises(CallFailedError) as refused:
        read_input('"s3cret"', Literal["small", "large"])

    assert "s3cret" not in refused.value.message


@over_both
async def test_a_step_knows_its_call_and_reports_usage_and_substeps(scheme: str) -> None:
    steps, known = Steps(), dict[str, Any]()

    @steps.step("look")
    async def look(call: Call) -> dict[str, Any]:
        known.update(
            key=call.idempotency_key,
            attempt=call.attempt,
            tenant=call.tenant_id,
            conversation=call.conversation_id,
            trace=call.traceparent,
            left=call.remaining_s,
        )
        with call.substep("search", {"q": 1}) as found:
            found.output = {"n": 2}
        call.usage(model="m", input_tokens=3)
        call.usage(output_tokens=4, cost_micros=5)
        return {}

    async with called(steps, scheme) as client:
        answer = await client.call(a_request("look"))

    assert 5.0 < known.pop("left") <= 10.0
    assert known == {
        "key": "task_1/1/mine/2",
        "attempt": 2,
        "tenant": "acme",
        "conversation": "c-1",
        "trace": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    assert answer.usage == Usage(model="m", input_tokens=3, output_tokens=4, cost_micros=5)
    [substep] = answer.substeps
    assert (substep.name, substep.status) == ("search", "completed")
    assert (json.loads(substep.input), json.loads(substep.output)) == ({"q": 1}, {"n": 2})


@over_both
@pytest.mark.parametrize(
    ("raised", "code", "detail", "retriable", "after_ms"),
    [
        (Refused("TEXT_ODD", "odd"), "SERVICE_REFUSED", "TEXT_ODD", False, None),
        (TryAgain(after_s=7), "SERVICE_UNAVAILABLE", "TRY_AGAIN", True, 7000),
        (TryAgain(busy=True), "SERVICE_OVERLOADED", "TRY_AGAIN", True, None),
        (RuntimeError("secret"), "SERVICE_FAILED", "STEP_RAISED", True, None),
    ],
)
async def test_what_a_step_raises_decides_what_happens_next(
    scheme: str, raised: Exception, code: str, detail: str, retriable: bool, after_ms: int | None
) -> None:
    steps = Steps()

    @steps.step("fail")
    def fail() -> None:
        raise raised

    async with called(steps, scheme) as client:
        with pytest.raises(ServiceError) as failed:
            await client.call(a_request("fail"))

    error = failed.value
    assert (error.code, error.detail_code, error.retriable) == (code, detail, retriable)
    assert error.retry_after_ms == after_ms
    assert "secret" not in error.message


@over_both
async def test_an_unknown_step_and_an_output_without_json_are_not_tried_again(scheme: str) -> None:
    steps = Steps()

    @steps.step("odd")
    def odd() -> object:
        return object()

    async with called(steps, scheme) as client:
        with pytest.raises(ServiceError) as unknown:
            await client.call(a_request("even"))
        with pytest.raises(ServiceError) as unusable:
            await client.call(a_request("odd"))

    assert unknown.value.code == "SERVICE_METHOD_UNKNOWN"
    assert (unusable.value.detail_code, unusable.value.retriable) == ("OUTPUT_INVALID", False)


def plain() -> Iterator[str]:
    yield "a "
    yield "b"


async def deferred() -> AsyncIterator[str | Output]:
    yield "a "
    yield "b"
    yield Output({"text": "a b"})


@pytest.mark.parametrize("function", [plain, deferred])
async def test_chunks_are_shown_over_grpc_before_the_output_which_both_transports_have(
    function: Any,
) -> None:
    steps, shown = Steps(), list[str]()
    steps.step("grow")(function)
    async with called(steps, "grpc") as client:
        streamed = await client.call(a_request("grow"), on_chunk=shown.append)
    async with called(steps, "http") as client:
        whole = await client.call(a_request("grow"))

    assert shown == ["a ", "b"]
    assert json.loads(streamed.output) == json.loads(whole.output) == {"text": "a b"}


@over_both
async def test_a_call_that_is_given_up_cancels_the_step(scheme: str) -> None:
    steps = Steps()
    began, cancelled, seen = asyncio.Event(), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @steps.step("await")
    async def hang() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    @steps.step("spin")
    def spin(call: Call) -> Iterator[str]:
        loop.call_soon_threadsafe(began.set)
        try:
            while True:
                yield "."
        finally:
            assert call.cancelled
            seen.set()

    async with called(steps, scheme) as client, asyncio.timeout(SOON_S):
        for method in ("await", "spin"):
            calling = asyncio.create_task(client.call(a_request(method)))
            await began.wait()
            began.clear()
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)
        await cancelled.wait()
        assert await asyncio.to_thread(seen.wait, SOON_S)


@over_both
async def test_a_step_that_is_late_is_cancelled_by_its_own_server(scheme: str) -> None:
    steps, cancelled = Steps(), asyncio.Event()

    @steps.step("hang")
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with called(steps, scheme) as client:
        with pytest.raises(ServiceError) as late:
            await client.call(a_request("hang", timeout_s=0.2))
        async with asyncio.timeout(SOON_S):
            await cancelled.wait()

    assert late.value.code == "SERVICE_TIMEOUT"


@over_both
async def test_many_calls_at_once_get_their_own_answers(scheme: str) -> None:
    steps = Steps()

    @steps.step("echo")
    def echo(given: dict[str, int], call: Call) -> dict[str, Any]:
        return {**given, "key": call.idempotency_key}

    async with called(steps, scheme) as client:
        answers = await asyncio.gather(
            *(client.call(a_request("echo", f'{{"n": {n}}}', key=f"k{n}")) for n in range(40))
        )

    assert [json.loads(answer.output) for answer in answers] == [
        {"n": n, "key": f"k{n}"} for n in range(40)
    ]


async def test_a_substep_that_has_no_json_fails_the_step_and_one_that_raised_says_so() -> None:
    steps = Steps()

    @steps.step("odd")
    def odd(call: Call) -> None:
        with call.substep("search") as found:
            found.output = object()

    @steps.step("go_on")
    def go_on(call: Call) -> None:
        with contextlib.suppress(KeyError), call.substep("search"):
            raise KeyError

    async with called(steps, "grpc") as client:
        with pytest.raises(ServiceError) as unusable:
            await client.call(a_request("odd"))
        answer = await client.call(a_request("go_on"))

    assert unusable.value.detail_code == "OUTPUT_INVALID"
    [substep] = answer.substeps
    assert substep.status == "failed"
    assert substep.error is not None
    assert substep.error.code == "RAISED"


def test_a_function_with_two_inputs_and_a_name_that_is_taken_are_refused() -> None:
    steps = Steps()
    steps.step("one")(plain)

    with pytest.raises(ValueError, match="one input"):
        steps.step("two")(lambda a, b: None)
    with pytest.raises(ValueError, match="two steps 'one'"):
        steps.step("one")(plain)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Refused("Text odd"),
        lambda: TryAgain(code="später"),
        lambda: TryAgain(after_s=-1),
        lambda: TryAgain(after_s=float("nan")),
    ],
)
def test_a_failure_that_cannot_be_sent_is_not_made(make: Any) -> None:
    with pytest.raises(ValueError, match=r"must be|is not a code"):
        make()


def test_a_count_of_usage_is_never_negative() -> None:
    call = Call(method="m")

    with pytest.raises(ValueError, match="count"):
        call.usage(input_tokens=-1)
    assert call.reported() == (None, ())
