"""A service that is a function in the worker's own process."""

import asyncio
from dataclasses import replace

import pytest

from agents.services import failure
from agents.services.client import StepRequest, StepResponse
from agents.services.directory import Directory
from agents.services.failure import ServiceError
from agents.services.settings import ServicesSettings
from schemas.errors import SettingsError
from schemas.records import CommandId, Json, StepName, TaskId


def a_request(timeout_s: float = 5.0) -> StepRequest:
    return StepRequest(
        method="Echo",
        input=Json('{"a":1}'),
        task_id=TaskId("task_1"),
        run=1,
        step=StepName("echo"),
        attempt=1,
        tenant_id="acme",
        idempotency_key=CommandId("task_1/1/echo/1"),
        timeout_s=timeout_s,
    )


def echo(request: StepRequest) -> StepResponse:
    return StepResponse(output=request.input)


async def echo_later(request: StepRequest) -> StepResponse:
    await asyncio.sleep(0)
    return echo(request)


async def never(request: StepRequest) -> StepResponse:
    await asyncio.Event().wait()
    return echo(request)


def broken(request: StepRequest) -> StepResponse:
    raise KeyError(request.method)


def refusing(request: StepRequest) -> StepResponse:
    raise ServiceError(failure.UNSENDABLE, "no", service="echo")


def late(request: StepRequest) -> StepResponse:
    raise TimeoutError


def lying(request: StepRequest) -> StepResponse:
    return None  # type: ignore[return-value]


def undeclared(request):  # type: ignore[no-untyped-def]
    return echo(request)


def at_once(function: str, timeout_s: float) -> StepResponse:
    client = a_directory(function).client_at_once("echo")
    assert client is not None
    return client.call_at_once(a_request(timeout_s))


def a_directory(function: str) -> Directory:
    return Directory(ServicesSettings(extra=f"echo=python://{__name__}:{function}"))


@pytest.mark.parametrize("function", ["echo", "echo_later"])
async def test_a_function_answers_for_a_service(function: str) -> None:
    answer = await a_directory(function).client("echo").call(a_request())

    assert answer == StepResponse(output=Json('{"a":1}'))


@pytest.mark.parametrize(
    ("function", "timeout_s", "code", "retriable"),
    [
        ("broken", 5.0, "SERVICE_FAILED", True),
        ("never", 0.01, "SERVICE_TIMEOUT", True),
        ("echo", 0.0, "SERVICE_TIMEOUT", True),
        ("refusing", 5.0, failure.UNSENDABLE.code, False),
    ],
)
async def test_what_a_function_raises_is_a_failure_of_its_service(
    function: str, timeout_s: float, code: str, retriable: bool
) -> None:
    with pytest.raises(ServiceError) as raised:
        await a_directory(function).client("echo").call(a_request(timeout_s))

    error = raised.value.as_record()
    assert (error.code, error.retriable) == (code, retriable)


@pytest.mark.parametrize(
    ("function", "at_once"),
    [("echo", True), ("echo_later", False), ("undeclared", False), ("never", False)],
)
def test_a_plain_function_that_says_what_it_returns_answers_at_once(
    function: str, at_once: bool
) -> None:
    assert (a_directory(function).client_at_once("echo") is not None) is at_once


def test_at_once_the_answer_is_the_same() -> None:
    assert at_once("echo", 5.0) == StepResponse(output=Json('{"a":1}'))


@pytest.mark.parametrize(
    ("function", "timeout_s", "code", "retriable"),
    [
        ("broken", 5.0, "SERVICE_FAILED", True),
        ("late", 5.0, "SERVICE_TIMEOUT", True),
        ("echo", 0.0, "SERVICE_TIMEOUT", True),
        ("refusing", 5.0, failure.UNSENDABLE.code, False),
        ("lying", 5.0, "SERVICE_FAILED", True),
    ],
)
def test_at_once_a_failure_is_the_same(
    function: str, timeout_s: float, code: str, retriable: bool
) -> None:
    with pytest.raises(ServiceError) as raised:
        at_once(function, timeout_s)

    error = raised.value.as_record()
    assert (error.code, error.retriable) == (code, retriable)


async def test_a_cancelled_call_of_a_function_is_cancelled() -> None:
    call = asyncio.create_task(a_directory("never").client("echo").call(a_request()))
    await asyncio.sleep(0)
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call


@pytest.mark.parametrize("target", ["nowhere:echo", f"{__name__}:nothing", f"{__name__}:a"])
def test_a_function_that_is_not_there_stops_the_start(target: str) -> None:
    directory = Directory(ServicesSettings(extra=f"echo=python://{target}"))

    with pytest.raises(SettingsError):
        directory.check({"echo"})


async def stubborn(request: StepRequest) -> StepResponse:
    """Does not let itself be cancelled."""
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        await asyncio.sleep(0.01)
    return echo(request)


async def lying_later(request: StepRequest) -> StepResponse:
    await asyncio.sleep(0)
    return {"output": "1"}  # type: ignore[return-value]


async def test_what_a_cancelled_function_returns_in_the_end_is_not_the_next_answer() -> None:
    client = a_directory("stubborn").client("echo")
    first = asyncio.create_task(client.call(a_request(3600.0)))
    for _ in range(3):
        await asyncio.sleep(0)
    first.cancel()
    second = replace(a_request(0.05), input=Json('{"a":2}'))

    answer = await client.call(second)

    assert answer.output == '{"a":2}'
    assert (await first).output == '{"a":1}'


async def test_a_function_that_returns_something_else_later_fails_its_own_call() -> None:
    with pytest.raises(ServiceError) as raised:
        await a_directory("lying_later").client("echo").call(a_request())

    assert raised.value.code == "SERVICE_FAILED"
