"""Tools for a model that was never taught to call any: a choice by JSON Schema. Pure.

Larger models are taught a form for calls, which their server turns into OpenAI's. This one
writes a JSON object that a schema allows, and the object becomes the call.
"""

from __future__ import annotations

import json
from typing import Any


def adapted(request: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """A request without tools, and whether its answer stands for a call.

    Before there is a result of a tool, the model has to choose one; afterwards it answers from
    the results.
    """
    rest = {name: value for name, value in request.items() if name not in ("tools", "tool_choice")}
    tools = request.get("tools") or []
    if not tools:
        return rest, False
    messages = request["messages"]
    results = [message["content"] for message in messages if message["role"] == "tool"]
    if results:
        said = [message for message in messages if message["role"] == "user"][-1:]
        question = said[0]["content"] if said else ""
        system = [message for message in messages if message["role"] == "system"]
        content = "\n".join([*results, "", f"Question: {question}"])
        return rest | {"messages": [*system, {"role": "user", "content": content}]}, False
    schema = {"anyOf": [_choice(tool["function"]) for tool in tools]}
    form = {"type": "json_schema", "json_schema": {"name": "call", "schema": schema}}
    without = {name: value for name, value in rest.items() if name != "stream_options"}
    return without | {"response_format": form, "stream": False}, True


def as_call(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer that holds a choice, as OpenAI's API shows a call; else the answer as it is."""
    choice = answer["choices"][0]
    try:
        chosen = json.loads(choice["message"]["content"])
        function = {"name": chosen["tool"], "arguments": json.dumps(chosen["arguments"])}
    except (ValueError, KeyError, TypeError):
        return answer
    call = {"id": "call_1", "type": "function", "function": function}
    message = {"role": "assistant", "content": "", "tool_calls": [call]}
    changed = choice | {"message": message, "finish_reason": "tool_calls"}
    return answer | {"choices": [changed]}


def _choice(function: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"tool": {"const": function["name"]}, "arguments": function["parameters"]},
        "required": ["tool", "arguments"],
        "additionalProperties": False,
    }
