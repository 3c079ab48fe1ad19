"""A wrong pipeline file stops the start, with the file and the line that is wrong."""

from pathlib import Path as FilePath

import pytest

from schemas.records import StepName
from tasks.pipeline import PipelineFileError
from tasks.pipeline_file import load_pipelines, parse_pipeline
from tasks.retry import RetryPolicy
from tasks.template import Fields, Items, Literal, Path, Reference

GOOD = """\
pipeline: haiku
version: 2
steps:
  - name: write
    service: poet
    method: Write
    timeout_s: 1.5
    retry: {max_attempts: 2, base_delay_s: 0.1}
    input:
      topic: $.input.topic
      lines: {from: $.metadata.lines, default: 3}
      price: {literal: "$5"}
      rules: [5, 7, 5.5, true, null, text]
  - name: praise
    service: critic
    method: Praise
    timeout_s: 2
    input: {poem: $.steps.write}
output: {poem: $.steps.write.text, praise: $.steps.praise}
"""


def error_of(text: str) -> str:
    with pytest.raises(PipelineFileError) as caught:
        parse_pipeline(text, file="haiku.yaml")
    return str(caught.value)


def test_a_good_file_is_a_pipeline() -> None:
    pipeline = parse_pipeline(GOOD, file="haiku.yaml")

    assert (pipeline.name, pipeline.version) == ("haiku", 2)
    assert [step.name for step in pipeline.steps] == ["write", "praise"]
    write, praise = pipeline.steps
    assert (write.service, write.method, write.timeout_ms) == ("poet", "Write", 1500)
    assert write.retry == RetryPolicy(max_attempts=2, base_delay_s=0.1)
    assert praise.retry == RetryPolicy()


def test_templates_are_read_as_they_are_written() -> None:
    write = parse_pipeline(GOOD, file="haiku.yaml").steps[0]

    assert write.input == Fields(
        (
            ("topic", Reference(Path("input", ("topic",)))),
            ("lines", Reference(Path("metadata", ("lines",)), Literal(3))),
            ("price", Literal("$5")),
            ("rules", Items(tuple(Literal(v) for v in (5, 7, 5.5, True, None, "text")))),
        )
    )


@pytest.mark.parametrize(
    ("old", "new", "line", "hint"),
    [
        ("version: 2", "version: two", 2, "whole number"),
        ("version: 2", "version: 0", 2, "whole number"),
        ("version: 2", "version: true", 2, "whole number"),
        ("version: 2\n", "", 1, "version is missing"),
        ("version: 2", "version: 2\nversion: 3", 3, "twice"),
        ("version: 2", "version: 2\ncolour: red", 3, "unknown key colour"),
        ("pipeline: haiku", "pipeline: Haiku", 1, "does not match"),
        ("pipeline: haiku", "pipeline: 5", 1, "expected a string"),
        ("name: write", "name: Write", 4, "does not match"),
        ("name: write", "name: 9lives", 4, "does not match"),
        ("name: praise", "name: write", 14, "occurs twice"),
        ("name: write", "nom: write", 4, "unknown key nom"),
        ("    service: poet\n", "", 4, "service is missing"),
        ("service: poet", "service: a/b", 5, "does not match"),
        ("method: Write", "method: ''", 6, "does not match"),
        ("timeout_s: 1.5", "timeout_s: 0", 7, "above 0"),
        ("timeout_s: 1.5", "timeout_s: .nan", 7, "finite"),
        ("timeout_s: 1.5", "timeout_s: 86401", 7, "at most 86400"),
        ("timeout_s: 1.5", "timeout_s: 10 s", 7, "expected a number"),
        ("max_attempts: 2", "max_attempts: 0", 8, "whole number"),
        ("max_attempts: 2", "tries: 2", 8, "unknown key tries"),
        ("base_delay_s: 0.1", "base_delay_s: 60", 8, "base_delay_s <= max_delay_s"),
        ("$.input.topic", "$.inputs.topic", 10, "is not a path"),
        ("$.input.topic", "$.steps.praise", 10, "no step praise before this"),
        ("$.input.topic", "$.steps.write", 10, "no step write before this"),
        ("from: $.metadata.lines", "from: 3", 11, "expected a string"),
        ("from: $.metadata.lines", "from: lines", 11, "is not a path"),
        ("default: 3", "default: 2024-01-01", 11, "not a JSON value"),
        ("default: 3", "default: .inf", 11, "finite"),
        ('"$5"', '"\\0"', 12, "NUL"),
        ("[5, 7, 5.5", "[5, 7, !!set {a}", 13, "not allowed"),
        ("[5, 7, 5.5", "[5, &x 7, 5.5", 13, "not allowed"),
        ("[5, 7, 5.5", "[5, *x, 5.5", 13, "not allowed"),
        ("[5, 7, 5.5", "[5, 7, 5.5]]", 13, "expected"),
        ("[5, 7, 5.5", "[" * 70, 13, "deeper"),
        ("{poem: $.steps.write}", "$.steps.write", 18, "must be a mapping"),
        ("{poem: $.steps.write}", "{3: $.steps.write}", 18, "expected a string"),
        ("praise: $.steps.praise}", "praise: $.steps.shout}", 19, "no step shout"),
        ("output:", "\toutput:", 19, "cannot start any token"),
    ],
)
def test_a_wrong_file_names_the_line_and_what_is_wrong(
    old: str, new: str, line: int, hint: str
) -> None:
    assert GOOD.count(old) == 1

    message = error_of(GOOD.replace(old, new))

    assert message.startswith(f"haiku.yaml:{line}: ")
    assert hint in message


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("", "haiku.yaml:1: the file is empty"),
        ("# nothing\n", "haiku.yaml:1: the file is empty"),
        ("[]", "haiku.yaml:1: expected a mapping"),
        ("a\n---\nb", "haiku.yaml:2: "),
        ("pipeline: a\nversion: 1\nsteps: []\noutput: 1", "haiku.yaml:3: expected a list"),
        ("pipeline: a\nversion: 1\nsteps: 5\noutput: 1", "haiku.yaml:3: expected a list"),
        ("pipeline: a\n\0", "haiku.yaml:2: a character"),
    ],
)
def test_what_is_no_pipeline_at_all_names_its_line(text: str, start: str) -> None:
    assert error_of(text).startswith(start)


def test_the_same_version_twice_is_an_error() -> None:
    with pytest.raises(PipelineFileError) as caught:
        load_pipelines({"a.yaml": GOOD, "b.yaml": GOOD})

    assert str(caught.value) == "b.yaml:1: haiku version 2 is already declared at a.yaml:1"


def test_a_built_in_version_cannot_be_replaced() -> None:
    text = GOOD.replace("pipeline: haiku\nversion: 2", "pipeline: rag\nversion: 1")

    with pytest.raises(
        PipelineFileError, match=r"a\.yaml:1: rag version 1 is already declared at "
    ):
        load_pipelines({"a.yaml": text})


def test_a_step_name_is_bound_to_one_service_in_all_pipelines() -> None:
    text = GOOD.replace("name: praise", "name: generate").replace("$.steps.praise", "1")

    with pytest.raises(
        PipelineFileError, match=r"a\.yaml:14: step generate calls critic, but rag-"
    ):
        load_pipelines({"a.yaml": text})


def test_new_tasks_get_the_newest_version_and_old_ones_keep_theirs() -> None:
    newer = GOOD.replace("version: 2", "version: 11")

    pipelines = load_pipelines({"new.yaml": newer, "old.yaml": GOOD})

    newest = pipelines.get("haiku")
    assert newest is not None
    assert newest == pipelines.newest("haiku")
    assert newest.version == 11
    assert pipelines.get("haiku", 2) == parse_pipeline(GOOD, file="x")
    assert pipelines.get("haiku", 3) is None
    assert pipelines.get("dance") is None


def test_all_names_of_types_steps_and_services_are_known() -> None:
    pipelines = load_pipelines({"haiku.yaml": GOOD})

    assert {"haiku", "rag"} <= set(pipelines.names)
    assert {"generate", "praise", "retrieve", "write"} <= set(pipelines.step_names)
    assert pipelines.services[StepName("write")] == "poet"


def test_every_built_in_file_is_a_pipeline() -> None:
    files = (FilePath(__file__).parents[2] / "tasks" / "pipelines").glob("*.yaml")
    built_in = {parse_pipeline(file.read_text("utf-8"), file=file.name).name for file in files}

    assert set(load_pipelines().names) == built_in


def test_rag_retrieves_then_generates() -> None:
    rag = load_pipelines().get("rag", 1)

    assert rag is not None
    assert [(s.name, s.service, s.method, s.timeout_ms) for s in rag.steps] == [
        ("retrieve", "retrieval-service", "Retrieve", 10_000),
        ("generate", "rag-engine", "Generate", 60_000),
    ]
    assert rag.output == Reference(Path("steps", ("generate",)))
