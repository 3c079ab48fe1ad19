"""Which failures an instance is left out for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.services import failure
from agents.services.balancing.client import BalancedStepClient
from agents.services.client import OnChunk, StepRequest, StepResponse
from agents.services.discovery.endpoint import Endpoint
from agents.services.discovery.static_list import StaticEndpoints
from agents.services.failure import ServiceError, Verdict
from agents.services.models.refusals import ANSWER_INVALID, PROMPT_INVALID
from tests.agents.services.test_grpc_client import a_request


class Failing:
    """A client whose calls all fail in one way."""

    def __init__(self, verdict: Verdict, service: str) -> None:
        self._verdict = verdict
        self._service = service

    async def call(self, request: StepRequest, *, on_chunk: OnChunk | None = None) -> StepResponse:
        raise ServiceError(self._verdict, "no", service=self._service)

    async def close(self) -> None:
        """Nothing is open."""


async def left_out(verdict: Verdict, *, service: str = "poet", whole_time: bool = True) -> int:
    endpoints = StaticEndpoints([Endpoint("a", 1), Endpoint("b", 1)])
    client = BalancedStepClient(endpoints, lambda _: Failing(verdict, service), service="poet")
    try:
        for _ in range(20):
            with pytest.raises(ServiceError):
                await client.call(replace(a_request(), whole_time=whole_time))
        return client._members.left_out()
    finally:
        await client.close()


@pytest.mark.parametrize("verdict", [failure.FAILED, failure.UNAVAILABLE, failure.RESPONSE_INVALID])
async def test_an_instance_that_is_broken_is_left_out(verdict: Verdict) -> None:
    assert await left_out(verdict) == 2


@pytest.mark.parametrize(
    "verdict",
    [failure.OVERLOADED, failure.ACCESS_DENIED, failure.UNSENDABLE, PROMPT_INVALID, ANSWER_INVALID],
)
async def test_what_says_nothing_about_an_instance_does_not_leave_it_out(verdict: Verdict) -> None:
    assert await left_out(verdict) == 0


async def test_an_instance_is_not_left_out_for_a_tool_that_it_called() -> None:
    assert await left_out(failure.UNAVAILABLE, service="a-tool") == 0


async def test_an_instance_is_not_left_out_for_the_short_deadline_of_a_task() -> None:
    assert await left_out(failure.TIMED_OUT, whole_time=False) == 0
    assert await left_out(failure.TIMED_OUT) == 2
