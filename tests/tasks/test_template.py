"""Templates build documents out of documents, and say which path leads nowhere."""

import json
from typing import Any

import pytest

from schemas.json_text import compact
from schemas.records import Json, StepName
from tasks.template import (
    Fields,
    Items,
    Literal,
    Path,
    PathMissingError,
    Reference,
    Scope,
    Template,
    build,
    parse_path,
)

SCOPE = Scope(
    given=Json('{"query":"why?","none":null,"deep":{"er":{"x-1":1}},"list":[{"a":1}]}'),
    metadata=Json('{"team":"blue"}'),
    outputs={StepName("retrieve"): Json('{"documents":[1,2]}'), StepName("count"): Json("7")},
)


def built(template: Template) -> Any:
    return json.loads(compact(build(template, SCOPE)))


def resolved(text: str) -> Any:
    return built(Reference(parse_path(text)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$.input.query", "why?"),
        ("$.input.none", None),
        ("$.input.deep.er.x-1", 1),
        ("$.metadata", {"team": "blue"}),
        ("$.metadata.team", "blue"),
        ("$.steps.retrieve.documents", [1, 2]),
        ("$.steps.count", 7),
    ],
)
def test_a_path_leads_to_a_value(path: str, value: Any) -> None:
    assert resolved(path) == value


@pytest.mark.parametrize(
    "path",
    [
        "$.input.nothing",
        "$.input.query.length",
        "$.input.none.x",
        "$.input.list.a",
        "$.metadata.Team",
        "$.steps.retrieve.documents.first",
        "$.steps.generate",
        "$.steps.count.x",
    ],
)
def test_a_path_that_leads_nowhere_is_missing(path: str) -> None:
    with pytest.raises(PathMissingError) as caught:
        resolved(path)

    assert str(caught.value) == f"{path} is missing"


def test_a_default_stands_in_for_what_is_absent_but_not_for_null() -> None:
    default = Literal(20)

    assert built(Reference(parse_path("$.input.top_k"), default)) == 20
    assert built(Reference(parse_path("$.input.none"), default)) is None


def test_objects_and_lists_are_filled_in() -> None:
    template = Fields(
        (
            ("q", Reference(parse_path("$.input.query"))),
            ("all", Items((Literal("$x"), Reference(parse_path("$.steps.count"))))),
        )
    )

    assert built(template) == {"q": "why?", "all": ["$x", 7]}


def test_what_a_path_leads_to_stays_as_it_was_written() -> None:
    text = '{"price": 1.50, "many": 12345678901234567890123, "said":"\\u00e9"}'
    scope = Scope(given=Json(text), metadata=Json("{}"), outputs={})

    whole = Fields((("it", Reference(parse_path("$.input"))),))
    part = Fields((("it", Reference(parse_path("$.input.price"))),))
    assert compact(build(whole, scope)) == f'{{"it":{text}}}'
    assert compact(build(part, scope)) == '{"it":1.50}'


@pytest.mark.parametrize(
    "text",
    ["", "$", "input", "$.steps", "$.output", "$.input.", "$.input..a", "$.input.0", "$.input[0]"],
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a path"):
        parse_path(text)


def test_a_path_is_written_as_it_is_read() -> None:
    path = Path("steps", ("retrieve", "documents"))

    assert parse_path(str(path)) == path
    assert path.step == "retrieve"
