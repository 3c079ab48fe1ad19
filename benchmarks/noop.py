"""The service of the `bench` pipeline: answers at once, 128 bytes and then 256."""

from agents.services.client import StepRequest, StepResponse
from benchmarks.raw_chain import output_of


def answer(request: StepRequest) -> StepResponse:
    return StepResponse(output=output_of(request.step))
