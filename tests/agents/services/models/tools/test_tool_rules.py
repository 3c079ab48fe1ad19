"""The loop's decisions: bounded, checked, and the same for the same answers."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.services.models.prompt import PromptError
from agents.services.models.tools.declaration import ToolDeclaration
from agents.services.models.tools.growing_calls import (
    CalledTool,
    CallPiece,
    FunctionPiece,
    GrowingCalls,
)
from agents.services.models.tools.rules import (
    CALLS_MAX,
    RESULT_MAX_CHARS,
    Finished,
    PlannedCall,
    RunTools,
    TooManyIterations,
    asked_message,
    key_of,
    next_move,
    result_message,
    shown,
)
from agents.services.models.tools.tool_set import ARGUMENTS_MAX_CHARS, ArgumentsError, ToolSet

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"query": {"type": "string"}, "top_k": {"type": "integer", "minimum": 1}},
    "required": ["query"],
    "additionalProperties": False,
}
SEARCH = ToolDeclaration(
    name="search",
    description="Finds passages.",
    service="retrieval",
    method="Retrieve",
    arguments=SCHEMA,
    timeout_ms=1000,
)
TOOLS = ToolSet([SEARCH])

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
DOCUMENTS = st.dictionaries(st.sampled_from(["query", "top_k", "other"]), JSON_VALUES)
ARGUMENTS = DOCUMENTS.map(json.dumps) | st.text(max_size=20)
CALLED = st.builds(CalledTool, st.sampled_from(["search", "delete", ""]), ARGUMENTS)
ANSWERS = st.lists(st.lists(CALLED, max_size=CALLS_MAX + 2), max_size=12)


@given(answers=ANSWERS, max_iterations=st.integers(1, 6))
def test_the_loop_ends_within_its_bound_whatever_the_model_answers(
    answers: list[list[CalledTool]], max_iterations: int
) -> None:
    scripted = iter(answers)
    asked = 0
    numbers: list[int] = []
    while True:
        asked += 1
        called = next(scripted, [])
        move = next_move(
            called,
            TOOLS,
            iteration=asked,
            max_iterations=max_iterations,
            calls_before=len(numbers),
        )
        if not isinstance(move, RunTools):
            break
        assert len(move.calls) == len(called)
        assert sum(call.tool is not None for call in move.calls) <= CALLS_MAX
        assert all(call.tool is not None or call.refusal for call in move.calls)
        numbers += [call.number for call in move.calls]

    assert asked <= max_iterations
    assert numbers == list(range(1, len(numbers) + 1))
    assert isinstance(move, Finished if not called else TooManyIterations)
    assert isinstance(move, Finished) or asked == max_iterations


@given(called=CALLED)
def test_only_a_call_whose_arguments_satisfy_the_schema_of_its_tool_is_run(
    called: CalledTool,
) -> None:
    try:
        value = json.loads(called.arguments or "{}")
        jsonschema.validate(value, SCHEMA)
        fits = called.name == "search"
    except (ValueError, jsonschema.ValidationError):
        fits = False

    move = next_move([called], TOOLS, iteration=1, max_iterations=2, calls_before=0)

    assert isinstance(move, RunTools)
    assert (move.calls[0].tool is not None) == fits


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("delete", "{}", "there is no such tool; there are: search"),
        ("search", "{}", "'query' is a required property"),
        ("search", '{"query": 7}', "7 is not of type 'string'"),
        ("search", "[]", "not a JSON object"),
        ("search", '{"query": ', "not JSON"),
        ("search", "[" * 10_000, "not JSON"),
        ("search", '{"query": "\\ud800"}', "not JSON"),
        ("search", " " * (ARGUMENTS_MAX_CHARS + 1), "more than"),
    ],
)
def test_the_model_is_told_what_is_wrong_with_its_call(
    name: str, arguments: str, message: str
) -> None:
    with pytest.raises(ArgumentsError, match=message):
        TOOLS.checked(name, arguments)


def test_arguments_that_no_schema_describes_are_no_prompt() -> None:
    wrong = ToolDeclaration(
        name="search", description="", service="s", method="M", arguments={"type": 7}, timeout_ms=1
    )
    with pytest.raises(PromptError, match="the arguments of search is no JSON Schema"):
        ToolSet([wrong])


CALLS = st.builds(
    PlannedCall, st.integers(1, 200), st.builds(CalledTool, st.text(), st.text()), st.none()
)


@given(first=CALLS, second=CALLS)
def test_a_key_is_that_of_its_attempt_its_number_and_what_is_called(
    first: PlannedCall, second: PlannedCall
) -> None:
    same = (first.number, first.called) == (second.number, second.called)

    assert (key_of("t/1/s/1", first) == key_of("t/1/s/1", second)) == same
    assert key_of("t/1/s/1", first) != key_of("t/1/s/2", first)
    assert key_of("t/1/s/1", first).isascii()


@given(result=st.text(max_size=3) | st.integers(1, 3 * RESULT_MAX_CHARS).map(lambda n: "x" * n))
def test_a_model_is_shown_a_bounded_part_of_a_result(result: str) -> None:
    said = shown(result)

    assert said == result or (len(result) > RESULT_MAX_CHARS and said.startswith("x" * 100))
    assert len(said) <= RESULT_MAX_CHARS + 40


def test_a_result_belongs_to_its_call_by_an_id_of_ours() -> None:
    call = PlannedCall(3, CalledTool("search", "{}"), SEARCH)

    [sent] = asked_message("", [call])["tool_calls"]

    assert sent["id"] == result_message(call, "found")["tool_call_id"] == "call_3"


# --- Calls that come piece by piece ---


@given(
    calls=st.lists(st.builds(CalledTool, st.text(min_size=1), st.text()), max_size=4),
    cuts=st.lists(st.integers(1, 5), min_size=1),
)
def test_calls_that_come_in_pieces_are_those_that_come_whole(
    calls: list[CalledTool], cuts: list[int]
) -> None:
    pieces = []
    for index, call in enumerate(calls):
        pieces.append(CallPiece(index, FunctionPiece(call.name, "")))
        rest, turn = call.arguments, 0
        while rest:
            size = cuts[turn % len(cuts)]
            pieces.append(CallPiece(index, FunctionPiece(None, rest[:size])))
            rest, turn = rest[size:], turn + 1
    grown, whole = GrowingCalls(), GrowingCalls()
    for piece in pieces:
        grown.add([piece])
    whole.add([CallPiece(None, FunctionPiece(call.name, call.arguments)) for call in calls])

    assert grown.calls == whole.calls == calls


@given(indexes=st.lists(st.integers(-(2**60), 2**60), unique=True, max_size=30))
def test_each_further_call_costs_of_the_size_of_an_answer(indexes: list[int]) -> None:
    calls = GrowingCalls()

    assert sum(calls.add([CallPiece(index)]) for index in indexes) >= 100 * len(indexes)
