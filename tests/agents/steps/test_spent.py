"""What the calls of an attempt consumed is in its result, however the attempt ends."""

from __future__ import annotations

import json
from typing import Any

from agents.services.client import StepClient
from agents.services.models.client import ModelClient
from schemas.records import Json, ResultKind
from tests.agents.services.models.fake_model import Exchange, a_model, a_prompt
from tests.agents.steps.working import Service, Site, a_command, a_worker
from tests.streams.building import until


class ModelSite(Service):
    """The only service is a model."""

    def __init__(self, model: ModelClient) -> None:
        super().__init__()
        self._asked = model

    def client(self, service: str) -> StepClient:
        return self._asked


def a_chat(**prompt: Any) -> dict[str, Any]:
    return {"method": "Chat", "input": Json(json.dumps(a_prompt(**prompt)))}


async def test_a_cancelled_attempt_reports_what_its_model_had_said(site: Site) -> None:
    async def script(asked: Exchange) -> None:
        await asked.head()
        await asked.event({"usage": {"prompt_tokens": 7, "completion_tokens": 2}})
        await asked.gone.wait()

    async with a_model(script) as model, a_worker(site, ModelSite(model.client())):
        command = a_command(**a_chat())
        await site.send(command)
        await until(lambda: len(model.asked) == 1)
        await site.control(command.task_id)
        [result] = await site.results_of(1)

    assert result.kind is ResultKind.CANCELLED
    assert [call.status for call in result.substeps] == ["cancelled"]
    assert result.usage is not None
    assert result.usage.input_tokens > 0


async def test_a_failed_attempt_and_the_models_before_the_answer_are_in_the_sum(site: Site) -> None:
    async def script(asked: Exchange) -> None:
        fits = asked.body["model"] == "second" and "good" in str(asked.body["messages"])
        if fits:
            await asked.whole("Hi")
        else:
            # It counts, and breaks off before a word was shown.
            await asked.head()
            await asked.event({"usage": {"prompt_tokens": 10, "completion_tokens": 3}})

    async with a_model(script) as model, a_worker(site, ModelSite(model.client("first|second"))):
        await site.send(
            a_command(**a_chat(text="good")),
            a_command(**a_chat(text="bad")),
        )
        results = await site.results_of(2)

    by_kind = {result.kind: result for result in results}
    for kind in (ResultKind.SUCCEEDED, ResultKind.FAILED):
        usage = by_kind[kind].usage
        assert usage is not None
        # Two calls of 10 and 3 tokens each.
        assert (usage.input_tokens, usage.output_tokens) == (20, 6)
    assert [call.name for call in by_kind[ResultKind.SUCCEEDED].substeps] == ["Chat first"]
