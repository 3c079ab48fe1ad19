"""The agent takes a question apart, uses the right tools, and stops at its limit."""

import json
import threading
from typing import Any

import pytest

from orchestrator.local.demo.agent_engine import ITERATIONS_MAX, AgentEngine
from orchestrator.local.demo.agent_policy import expression_in, parts_of
from orchestrator.local.demo.answer import Answer, BadInputError, GivenUpError
from orchestrator.local.demo.passages import Passage
from orchestrator.local.demo.retrieval import Retrieval

PASSAGES = [
    Passage(id="lake", title="", text="The lake is deep."),
    Passage(id="hill", title="", text="A castle stands on the hill."),
]
NOW_MS = 1_700_000_000_000


def an_agent() -> AgentEngine:
    ticks = iter(range(NOW_MS, NOW_MS + 1000))
    return AgentEngine(Retrieval(PASSAGES).search, clock=lambda: next(ticks))


def run(query: str, **fields: object) -> Answer:
    return an_agent().run_agent(json.dumps({"query": query, **fields}), threading.Event())


def output_of(answer: Answer) -> dict[str, Any]:
    output: dict[str, Any] = json.loads(answer.output)
    return output


def test_each_part_is_worked_on_with_the_tool_that_fits_and_then_answered() -> None:
    answer = run("What is 6 * 7, and where stands the castle?")

    assert output_of(answer) == {
        "answer": "6 * 7 = 42. A castle stands on the hill.",
        "finished": True,
        "iterations": 3,
    }
    assert [step.name for step in answer.substeps] == ["calculator", "retrieve", "answer"]


def test_an_iteration_is_a_substep_with_input_output_times_and_usage() -> None:
    first, second, _ = run("What is 6 * 7, and where stands the castle?").substeps

    assert (first.input, first.output) == ('{"argument":"6 * 7"}', '{"result":42}')
    assert json.loads(second.output) == {"documents": ["hill"]}
    assert (first.started_at, first.completed_at) == (NOW_MS, NOW_MS + 1)
    assert first.usage is not None
    assert first.usage.input_tokens > 0
    assert first.usage.output_tokens > 0
    assert first.usage.cost_micros > 0


def test_the_usage_of_the_whole_is_the_sum_of_its_iterations() -> None:
    answer = run("What is 6 * 7, and where stands the castle?")

    usages = [step.usage for step in answer.substeps if step.usage is not None]
    assert answer.usage is not None
    assert answer.usage.cost_micros == sum(usage.cost_micros for usage in usages)
    assert answer.usage.input_tokens == sum(usage.input_tokens for usage in usages)


def test_at_the_limit_the_agent_ends_unfinished_with_what_it_found_out() -> None:
    answer = run("What is 1 + 1? What is 2 + 2? What is 3 + 3?", max_iterations=2)

    assert output_of(answer) == {
        "answer": "1 + 1 = 2. 2 + 2 = 4.",
        "finished": False,
        "iterations": 2,
    }


def test_ten_iterations_are_the_default_and_the_most() -> None:
    answer = run(" ".join(f"What is {n} + {n}?" for n in range(1, 20)))

    assert len(answer.substeps) == ITERATIONS_MAX == 10
    assert not output_of(answer)["finished"]


def test_a_tool_that_fails_is_a_failed_substep_and_the_loop_goes_on() -> None:
    answer = run("What is 1 / 0? How deep is the lake?")

    failed = answer.substeps[0]
    assert (failed.status, failed.error and failed.error.code) == ("failed", "CALCULATION_FAILED")
    assert output_of(answer)["answer"] == (
        "1 / 0 has no result: division by zero. The lake is deep."
    )


def test_an_agent_whose_caller_is_gone_gives_up() -> None:
    gone = threading.Event()
    gone.set()

    with pytest.raises(GivenUpError):
        an_agent().run_agent('{"query": "1 + 1"}', gone)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ("{}", "INPUT_INVALID"),
        ('{"query": " "}', "QUERY_EMPTY"),
        ('{"query": "a", "max_iterations": 0}', "MAX_ITERATIONS_INVALID"),
        ('{"query": "a", "max_iterations": 11}', "MAX_ITERATIONS_INVALID"),
        ('{"query": "a", "max_iterations": "2"}', "INPUT_INVALID"),
    ],
)
def test_a_wrong_input_is_refused_with_a_code(request_: str, code: str) -> None:
    with pytest.raises(BadInputError) as caught:
        an_agent().run_agent(request_, threading.Event())

    assert caught.value.code == code


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        ("What is A? What is B?", ["What is A", "What is B"]),
        ("What is A and how is B?", ["What is A", "how is B"]),
        (
            "Add 1.5 + 2.5. Tell me of salt and pepper",
            ["Add 1.5 + 2.5", "Tell me of salt and pepper"],
        ),
        ("A, then B", ["A", "B"]),
        ("A? A?", ["A"]),
        ("???", []),
    ],
)
def test_a_question_is_taken_apart_between_its_questions(question: str, parts: list[str]) -> None:
    assert parts_of(question) == parts


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("What is (17 + 3) * 2.5", "(17 + 3) * 2.5"),
        ("2^10 please", "2**10"),
        ("6 × 7", "6 * 7"),  # noqa: RUF001
        ("the year 2024", None),
        ("no numbers", None),
    ],
)
def test_arithmetic_is_found_in_words(text: str, expression: str | None) -> None:
    assert expression_in(text) == expression
