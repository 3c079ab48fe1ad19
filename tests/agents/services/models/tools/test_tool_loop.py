"""A model that calls tools: what is called, with what, what it costs, and when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from agents.services import failure
from agents.services.client import StepRequest, StepResponse
from agents.services.failure import ServiceError, Verdict
from agents.services.inline_client import InlineStepClient
from agents.services.models.address import parse_address
from agents.services.models.api import ModelTimes
from agents.services.models.client import ModelClient
from agents.services.models.tools.toolbox import Toolbox
from schemas.json_text import compact
from schemas.records import ErrorCategory, Json, SubStep, Usage
from tasks.pipeline import Pipelines
from tasks.pipeline_file import parse_pipeline
from tasks.template import Scope, build
from tests.agents.services.models.fake_model import (
    MAX_BYTES,
    PRICES,
    Exchange,
    FakeModel,
    a_model,
    a_prompt,
    a_request,
)

SEARCH = {
    "name": "search",
    "description": "Finds passages.",
    "service": "retrieval",
    "method": "Retrieve",
    "arguments": {
        "type": "object",
        "properties": {"query": {"type": "string"}},
        "required": ["query"],
    },
    "timeout_ms": 5_000,
}
PIPELINES = [
    block.split("```")[0] for block in Path("docs/models.md").read_text("utf-8").split("```yaml\n")
][1:]
Tool = Callable[[StepRequest], StepResponse | Awaitable[StepResponse]]


@dataclass
class Turns:
    """A model that gives prepared answers, each a text or the tools that it calls."""

    answers: list[str | list[tuple[str, str]]]
    asked: list[Exchange] = field(default_factory=list)

    async def __call__(self, asked: Exchange) -> None:
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(asked)
        if isinstance(answer, str):
            await asked.whole(answer)
            return
        await asked.head()
        for index, (name, arguments) in enumerate(answer):
            half = len(arguments) // 2
            await call_piece(asked, index, name=name, arguments=arguments[:half])
            await call_piece(asked, index, arguments=arguments[half:])
        choice = {"index": 0, "delta": {}, "finish_reason": "tool_calls"}
        await asked.event({"choices": [choice]})
        counted = {"prompt_tokens": 10, "completion_tokens": 3}
        await asked.event({"choices": [], "usage": counted})


async def call_piece(asked: Exchange, index: int, **function: str) -> None:
    call = {"index": index, "id": "same", "type": "function", "function": function}
    await asked.event({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})


@dataclass
class Running:
    """A client whose model may call one tool."""

    client: ModelClient
    calls: list[StepRequest] = field(default_factory=list)
    spent: list[SubStep] = field(default_factory=list)

    async def ask(self, timeout_s: float = 20.0, **fields: Any) -> StepResponse:
        """Run an attempt."""
        given: dict[str, Any] = {"tools": [SEARCH], "max_iterations": 4} | fields
        request = a_request(a_prompt(**given), timeout_s=timeout_s)
        return await self.client.call(replace(request, on_spent=self.spent.append))

    @property
    def cost_micros(self) -> int:
        """What was spent without an answer."""
        return sum(step.usage.cost_micros for step in self.spent if step.usage is not None)


@asynccontextmanager
async def running(
    script: Callable[[Exchange], Awaitable[None]],
    tool: Tool | None = None,
    models: str = "first",
    allowed: frozenset[tuple[str, str]] = frozenset({("retrieval", "Retrieve")}),
) -> AsyncIterator[Running]:
    async def noted(request: StepRequest) -> StepResponse:
        found.calls.append(request)
        if tool is None:
            return StepResponse(output=Json('{"documents": ["A lane is a topic."]}'))
        answer = tool(request)
        return answer if isinstance(answer, StepResponse) else await answer

    async with a_model(script) as model:
        found = Running(a_client(model, noted, models, allowed))
        yield found


def a_client(
    model: FakeModel, tool: Tool, models: str, allowed: frozenset[tuple[str, str]]
) -> ModelClient:
    inline = InlineStepClient(tool, service="retrieval")
    return ModelClient(
        parse_address(f"{model.url}?model={models}"),
        service="writer",
        max_message_bytes=MAX_BYTES,
        prices=PRICES,
        times=ModelTimes(),
        toolbox=Toolbox(lambda _: inline, allowed),
    )


async def failed(one: Running, **fields: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await one.ask(**fields)
    return caught.value


ASKS = [("search", '{"query": "lane"}')]


async def test_a_model_gets_the_result_of_the_tool_that_it_calls_and_answers() -> None:
    turns = Turns([ASKS, "A lane is a topic."])
    async with running(turns) as one:
        answer = await one.ask()

    assert json.loads(answer.output)["text"] == "A lane is a topic."
    [call] = one.calls
    assert (call.method, json.loads(call.input)) == ("Retrieve", {"query": "lane"})
    first, second = (asked.body for asked in turns.asked)
    assert first["tools"][0]["function"]["parameters"] == SEARCH["arguments"]
    assert "service" not in json.dumps(first["tools"])
    asked, result = second["messages"][1:]
    assert asked["tool_calls"][0]["function"] == {"name": "search", "arguments": ASKS[0][1]}
    assert result["role"] == "tool"
    assert result["tool_call_id"] == asked["tool_calls"][0]["id"]
    assert "A lane is a topic." in result["content"]


async def test_usage_is_the_sum_and_each_iteration_and_call_is_a_substep() -> None:
    def tool(request: StepRequest) -> StepResponse:
        return StepResponse(output=Json("{}"), usage=Usage(model="index", cost_micros=5))

    async with running(Turns([ASKS, "Done."]), tool) as one:
        answer = await one.ask()

    assert answer.usage is not None
    # Two iterations of 10 and 3 tokens, 16 micro-USD each, and 5 of the tool.
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (20, 6)
    assert (answer.usage.cost_micros, answer.usage.model) == (37, "first")
    assert [(step.name, step.status) for step in answer.substeps] == [
        ("chat", "completed"),
        ("search", "completed"),
        ("chat", "completed"),
    ]
    assert json.loads(answer.substeps[1].input) == {"query": "lane"}
    assert answer.substeps[0].usage is not None


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (("search", '{"query": 7}'), "is not of type"),
        (("search", "lane"), "not JSON"),
        (("delete", "{}"), "there is no such tool"),
    ],
)
async def test_a_wrong_call_is_given_back_to_the_model_and_is_an_iteration(
    call: tuple[str, str], told: str
) -> None:
    turns = Turns([[call], "Sorry."])
    async with running(turns) as one:
        answer = await one.ask(max_iterations=2)

    assert one.calls == []
    assert told in turns.asked[1].body["messages"][-1]["content"]
    assert answer.substeps[1].error is not None
    assert answer.substeps[1].error.code == "TOOL_CALL_REFUSED"


async def test_wrong_calls_count_as_iterations() -> None:
    turns = Turns([[("delete", "{}")]])
    async with running(turns) as one:
        error = await failed(one, max_iterations=3)

    assert (error.code, len(turns.asked)) == ("MODEL_ITERATIONS_EXCEEDED", 3)


async def test_a_loop_that_hits_its_bound_ends_for_good_and_says_what_it_cost() -> None:
    turns = Turns([ASKS])
    async with running(turns) as one:
        error = await failed(one, max_iterations=3)

    assert (error.code, error.retriable) == ("MODEL_ITERATIONS_EXCEEDED", False)
    assert "iteration 3" in error.message
    assert (len(turns.asked), len(one.calls)) == (3, 2)
    assert one.cost_micros == 3 * 16
    assert [step.name for step in one.spent] == ["chat", "search"] * 2 + ["chat"]


REFUSED = Verdict(failure.CallFailure.PERMANENT, "SERVICE_REFUSED", ErrorCategory.USER)


async def test_a_refusal_of_a_tool_is_told_to_the_model() -> None:
    def tool(request: StepRequest) -> StepResponse:
        raise ServiceError(REFUSED, "QUERY_EMPTY", service="retrieval")

    turns = Turns([ASKS, "There is nothing."])
    async with running(turns, tool) as one:
        answer = await one.ask()

    assert turns.asked[1].body["messages"][-1]["content"] == "error: SERVICE_REFUSED: QUERY_EMPTY"
    assert answer.substeps[1].status == "failed"


async def test_a_tool_that_is_down_fails_the_attempt_so_that_it_is_made_again() -> None:
    def tool(request: StepRequest) -> StepResponse:
        raise ServiceError(failure.UNAVAILABLE, "away", service="retrieval", retry_after_ms=70)

    async with running(Turns([ASKS, "I do not know."]), tool) as one:
        error = await failed(one)

    assert (error.code, error.service, error.retriable) == (
        "SERVICE_UNAVAILABLE",
        "retrieval",
        True,
    )
    assert error.retry_after_ms == 70
    assert one.cost_micros == 16


async def test_the_same_attempt_made_again_calls_with_the_same_keys() -> None:
    keys = []
    for _ in range(2):
        async with running(Turns([[*ASKS, *ASKS], ASKS, "Done."])) as one:
            await one.ask()
        keys.append([call.idempotency_key for call in one.calls])

    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 3
    assert all(key.startswith("task_1/1/generate/1/tool/") for key in keys[0])


async def test_a_cancel_reaches_the_tool() -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def tool(request: StepRequest) -> StepResponse:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        raise AssertionError

    async with running(Turns([ASKS]), tool) as one:
        attempt = asyncio.create_task(one.ask())
        async with asyncio.timeout(5):
            await begun.wait()
            attempt.cancel()
            await asyncio.gather(attempt, return_exceptions=True)

    assert attempt.cancelled()
    assert stopped.is_set()
    assert one.cost_micros == 16


async def test_a_tool_has_no_more_time_than_the_step_and_the_end_of_it_says_what_it_cost() -> None:
    async def tool(request: StepRequest) -> StepResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with running(Turns([ASKS]), tool) as one:
        error = await failed(one, timeout_s=0.3)

    assert (error.code, error.retriable) == ("SERVICE_TIMEOUT", True)
    assert 0 < one.calls[0].timeout_s <= 0.3
    assert one.cost_micros == 16


async def test_a_large_result_is_cut_for_the_model_and_left_out_of_the_substep() -> None:
    turns = Turns([ASKS, "Done."])
    large = StepResponse(output=Json(json.dumps({"text": "x" * 50_000})))
    async with running(turns, lambda _: large) as one:
        answer = await one.ask()

    assert len(turns.asked[1].body["messages"][-1]["content"]) < 9_000
    assert json.loads(answer.substeps[1].output) == {"omitted_bytes": 50_012}


async def test_a_tool_that_no_pipeline_declares_is_never_called() -> None:
    turns = Turns([ASKS])
    async with running(turns) as one:
        error = await failed(one, tools=[SEARCH | {"method": "DeleteEverything"}])

    assert (error.code, error.retriable) == ("MODEL_PROMPT_INVALID", False)
    assert (turns.asked, one.calls) == ([], [])


async def test_calls_without_end_are_refused_at_the_limit_of_an_answer() -> None:
    async def script(asked: Exchange) -> None:
        await asked.head()
        for index in range(2 * MAX_BYTES // 256):
            await call_piece(asked, index, name="", arguments="")

    async with running(script) as one:
        error = await failed(one)

    assert error.code == "SERVICE_MESSAGE_TOO_LARGE"


async def test_once_a_tool_ran_no_other_instance_begins_from_the_start() -> None:
    def tool(request: StepRequest) -> StepResponse:
        raise ServiceError(failure.UNAVAILABLE, "away", service="retrieval", called=False)

    async with running(Turns([ASKS]), tool) as one:
        assert (await failed(one)).called


async def test_the_next_model_goes_on_with_the_conversation_when_one_fails_in_it() -> None:
    async def script(asked: Exchange) -> None:
        is_first = len(asked.body["messages"]) == 1
        if asked.body["model"] == "second":
            await asked.whole("A lane is a topic.")
        elif is_first:
            await Turns([ASKS])(asked)
        else:
            await asked.refuse(500, {"message": "broken"})

    async with running(script, models="first|second") as one:
        answer = await one.ask()

    assert json.loads(answer.output)["model"] == "second"
    assert len(one.calls) == 1
    statuses = [step.status for step in answer.substeps]
    assert statuses == ["completed", "completed", "failed", "completed"]


async def test_the_pipeline_of_the_page_runs() -> None:
    [pipeline] = [
        parse_pipeline(text, file="docs/models.md") for text in PIPELINES if "tools:" in text
    ]
    [step] = pipeline.steps
    scope = Scope(given=Json('{"query": "What is a lane?"}'), metadata=Json("{}"), outputs={})
    turns = Turns([ASKS, "A lane is a topic."])
    given = json.loads(compact(build(step.input, scope)))
    async with running(turns, allowed=Pipelines([pipeline]).tool_methods) as one:
        answer = await one.client.call(a_request(given, method=step.method))

    assert json.loads(answer.output)["text"] == "A lane is a topic."
    assert [call.method for call in one.calls] == ["Retrieve"]
    assert Pipelines([pipeline]).called_services == {"thinker", "retrieval-service"}
