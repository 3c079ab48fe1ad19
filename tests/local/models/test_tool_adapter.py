"""Tools for a model that knows none: a choice by a schema becomes a call."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.local.models.tool_adapter import adapted, as_call

TOOL = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "",
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string"}},
            "required": ["query"],
        },
    },
}
SYSTEM = {"role": "system", "content": "Answer."}
ASKED = {"role": "user", "content": "What is a lane?"}


def a_request(*messages: dict[str, Any], tools: bool = True) -> dict[str, Any]:
    return {"messages": list(messages), "stream": True} | ({"tools": [TOOL]} if tools else {})


def an_answer(content: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {}}


def test_a_request_without_tools_passes_unchanged() -> None:
    assert adapted(a_request(ASKED, tools=False)) == (a_request(ASKED, tools=False), False)


@given(query=st.text())
def test_a_choice_that_the_schema_allows_becomes_a_call(query: str) -> None:
    request, is_call = adapted(a_request(SYSTEM, ASKED))
    chosen = {"tool": "search", "arguments": {"query": query}}

    jsonschema.validate(chosen, request["response_format"]["json_schema"]["schema"])
    [choice] = as_call(an_answer(json.dumps(chosen)))["choices"]

    assert (is_call, request["stream"], "tools" in request) == (True, False, False)
    assert choice["finish_reason"] == "tool_calls"
    [call] = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "search"
    assert json.loads(call["function"]["arguments"]) == {"query": query}


@given(content=st.text() | st.sampled_from(["{}", "[]", "null", '{"tool": "search"}']))
def test_what_is_no_choice_stays_an_answer(content: str) -> None:
    assert as_call(an_answer(content)) == an_answer(content)


def test_with_a_result_the_model_is_asked_for_the_answer() -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"id": "call_1"}]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "A lane is a topic."}

    request, is_call = adapted(a_request(SYSTEM, ASKED, call, result))

    assert not is_call
    assert request["stream"]
    assert "response_format" not in request
    assert [message["role"] for message in request["messages"]] == ["system", "user"]
    asked = request["messages"][-1]["content"]
    assert asked == "A lane is a topic.\n\nQuestion: What is a lane?"
