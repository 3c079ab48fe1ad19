"""Tools of a step: read with their lines, fixed in the version, and known to the process."""

from __future__ import annotations

import json

import pytest

from schemas.json_text import compact
from schemas.records import Json, StepName
from tasks.pipeline import PipelineFileError, Pipelines
from tasks.pipeline_file import parse_pipeline
from tasks.template import Scope, build

GOOD = """\
pipeline: research
version: 1
steps:
  - name: think
    service: thinker
    method: Chat
    timeout_s: 60
    tools:
      - name: search
        description: Finds passages.
        service: retrieval-service
        method: Retrieve
        arguments: {type: object, properties: {query: {type: string}}}
    input:
      messages: [{role: user, content: "{{query}}"}]
      values: {query: $.input.query}
output: $.steps.think
"""


def test_the_tools_are_a_fixed_part_of_the_input() -> None:
    [step] = parse_pipeline(GOOD, file="a.yaml").steps
    given = {"query": "x", "tools": [{"name": "mine"}], "max_iterations": 9}
    scope = Scope(given=Json(json.dumps(given)), metadata=Json("{}"), outputs={})

    built = json.loads(compact(build(step.input, scope)))

    assert [tool["name"] for tool in built["tools"]] == ["search"]
    assert built["tools"][0]["timeout_ms"] == 30_000
    assert built["max_iterations"] == 4


def test_a_process_knows_the_services_and_methods_of_tools() -> None:
    pipelines = Pipelines([parse_pipeline(GOOD, file="a.yaml")])

    assert pipelines.services_of(StepName("think")) == {"thinker", "retrieval-service"}
    assert pipelines.called_services == {"thinker", "retrieval-service"}
    assert pipelines.tool_methods == {("retrieval-service", "Retrieve")}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("method: Retrieve", "methods: Retrieve", "a.yaml:12: unknown key methods"),
        ("        method: Retrieve\n", "", "a.yaml:9: the key method is missing"),
        ("type: object,", "type: array,", "a.yaml:13: arguments must be a JSON Schema with"),
        ("name: search", "name: se arch", "a.yaml:9: 'se arch' does not match"),
        ("    input:", "    max_iterations: 21\n    input:", "a.yaml:14: expected a whole number"),
        ("    input:", "    input:\n      tools: []", "a.yaml:15: tools belongs to the step"),
    ],
)
def test_a_wrong_tool_names_its_line(old: str, new: str, message: str) -> None:
    with pytest.raises(PipelineFileError) as caught:
        parse_pipeline(GOOD.replace(old, new, 1), file="a.yaml")

    assert str(caught.value).startswith(message)


def test_a_tool_name_occurs_once_and_iterations_need_tools() -> None:
    start, end = GOOD.index("      - name: search"), GOOD.index("    input:")
    tool = GOOD[start:end]

    with pytest.raises(PipelineFileError, match="tool search occurs twice"):
        parse_pipeline(GOOD.replace(tool, tool + tool), file="a.yaml")
    with pytest.raises(PipelineFileError, match="max_iterations needs tools"):
        parse_pipeline(
            GOOD.replace("    tools:\n" + tool, "    max_iterations: 3\n"), file="a.yaml"
        )
