"""The services of the `bench` pipelines: they do nothing, in three ways."""

import asyncio

from agents.services.client import StepRequest, StepResponse
from benchmarks.chains.raw import output_of

_WAIT_S = 0.01


def answer(request: StepRequest) -> StepResponse:
    """Answer at once: 128 bytes after the first step, 256 after any other."""
    return StepResponse(output=output_of(request.step))


async def answer_after_10_ms(request: StepRequest) -> StepResponse:
    """Answer as something that is called would: later, while others are answered, too."""
    await asyncio.sleep(_WAIT_S)
    return answer(request)


def fail_once(request: StepRequest) -> StepResponse:
    """Fail the first attempt."""
    if request.attempt == 1:
        raise RuntimeError("the first attempt fails")
    return answer(request)
