"""A second call beside a slow one: the first answer counts, and nobody pays without need."""

from __future__ import annotations

import asyncio
import json

import pytest

from agents.services.client import OnChunk, StepRequest, StepResponse
from agents.services.failure import UNAVAILABLE, ServiceError
from agents.steps.hedge import HedgedClient
from schemas.records import CommandId, Json, StepName, TaskId
from streams import metrics
from tasks.pipeline import Pipelines
from tasks.pipeline_file import parse_pipeline

STEP = StepName("retrieve")
REQUEST = StepRequest(
    method="Retrieve",
    input=Json("{}"),
    task_id=TaskId("task_1"),
    run=1,
    step=STEP,
    attempt=1,
    tenant_id="acme",
    idempotency_key=CommandId("task_1/1/retrieve/1"),
    timeout_s=10.0,
)


class Scripted:
    """Each call does what its number says: an answer, a failure, or nothing until cancelled."""

    def __init__(self, *script: str) -> None:
        self._script = script
        self.requests: list[StepRequest] = []
        self.cancelled: list[int] = []

    async def call(self, request: StepRequest, *, on_chunk: OnChunk | None = None) -> StepResponse:
        number = len(self.requests)
        self.requests.append(request)
        what = self._script[number]
        if what == "hangs":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.append(number)
                raise
        if what == "fails":
            raise ServiceError(UNAVAILABLE, f"call {number}", service="s")
        return StepResponse(output=Json(json.dumps(number)))

    async def close(self) -> None:
        """Nothing is open."""


def hedged(service: Scripted, *, allowed: bool = True) -> HedgedClient:
    return HedgedClient(service, after_s=0.02, allowed=lambda: allowed)


async def test_a_slow_call_gets_a_second_one_and_the_first_answer_counts() -> None:
    service, before = Scripted("hangs", "answers"), _second()
    answer = await hedged(service).call(REQUEST)

    assert (answer.output, service.cancelled) == ("1", [0])
    assert {request.idempotency_key for request in service.requests} == {REQUEST.idempotency_key}
    assert service.requests[1].timeout_s < REQUEST.timeout_s
    assert _second() == before + 1


async def test_a_call_that_is_answered_or_fails_in_time_is_the_only_one() -> None:
    for what in ("answers", "fails"):
        service = Scripted(what)
        await asyncio.gather(hedged(service).call(REQUEST), return_exceptions=True)
        assert len(service.requests) == 1


async def test_a_second_call_that_fails_does_not_end_the_first_one() -> None:
    service = Scripted("hangs", "fails")
    call = asyncio.create_task(hedged(service).call(REQUEST))
    async with asyncio.timeout(10):
        while len(service.requests) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert not call.done()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert service.cancelled == [0]


async def test_without_leave_there_is_no_second_call() -> None:
    service = Scripted("hangs")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await hedged(service, allowed=False).call(REQUEST)
    assert (len(service.requests), service.cancelled) == (1, [0])


async def test_a_cancel_ends_both_calls() -> None:
    service = Scripted("hangs", "hangs")
    call = asyncio.create_task(hedged(service).call(REQUEST))
    async with asyncio.timeout(10):
        while len(service.requests) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    assert (call.cancelled(), sorted(service.cancelled)) == (True, [0, 1])


PIPELINE = """
pipeline: {name}
version: 1
steps:
  - name: retrieve
    service: retrieval
    method: Retrieve
    timeout_s: 10
    {hedge}
    input: {{query: $.input.query}}
output: $.steps.retrieve
"""


@pytest.mark.parametrize(
    ("hedges", "after_ms"),
    [
        (("hedge_after_s: 2", "hedge_after_s: 0.5"), 2_000),
        (("hedge_after_s: 2", ""), None),
        (("", ""), None),
    ],
)
def test_a_step_is_hedged_if_each_pipeline_with_it_says_so(
    hedges: tuple[str, str], after_ms: int | None
) -> None:
    texts = [PIPELINE.format(name=f"p{n}", hedge=hedge) for n, hedge in enumerate(hedges)]
    pipelines = Pipelines(parse_pipeline(text, file="p.yaml") for text in texts)
    assert pipelines.hedge_after_ms(STEP) == after_ms


def _second() -> float:
    return float(metrics.HEDGES.labels(STEP, "second")._value.get())
