"""The demonstration answers what a newcomer types first, from the documents of this project."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.local.demo.passages import load_passages
from orchestrator.local.demo.rag_engine import SENTENCES_MAX, generate
from orchestrator.local.demo.retrieval import Retrieval
from orchestrator.local.demo.text import sentences, terms

INSTALLED = load_passages(Path("no-such-folder"))
IN_A_CLONE = load_passages(Path("docs"))
RETRIEVALS = [
    pytest.param(Retrieval(INSTALLED), id="installed"),
    pytest.param(Retrieval(IN_A_CLONE), id="clone"),
]
TEXTS = {passage.id: passage.text for passage in IN_A_CLONE}

QUESTIONS = {
    "What is a lane?": "three topics of a step",
    "what is a dead letter": "could not be processed",
    "How do I replay?": "dead letters are replayed into the topic",
    "how are tasks retried?": "four attempts",
    "What does a router do?": "which step comes next",
    "tell me about lanes": "three topics of a step",
    "why is my task stuck?": "task explain",
    "How do I cancel a running task?": "task cancel",
    "how do i stop it": "Ctrl-C",
    "Is a task ever lost?": "No task is lost",
    "what happens when postgres is down": "tasks keep running",
    "How do I see the cost of a task?": "usage",
    "which ports are used?": "9092",
    "What is Kafka?": "distributed log",
    "How many attempts does a step have?": "four times",
    "how do I wait for the result": "--wait",
    "can I edit a dead letter?": "dlq edit",
    "how do I use my own language model?": "openai+http",
    "is it secure?": "API keys",
}


def answer(retrieval: Retrieval, question: str) -> tuple[str, list[str]]:
    """The answer of the task type ``rag``, and the passages that it cites."""
    found = json.loads(retrieval.retrieve(json.dumps({"query": question, "top_k": 20})).output)
    given = json.dumps({"query": question, "documents": found["documents"]})
    output = json.loads(generate(given).output)
    return output["answer"], output["citations"]


@pytest.mark.parametrize("retrieval", RETRIEVALS)
@pytest.mark.parametrize("question", QUESTIONS)
def test_what_a_newcomer_asks_first_has_a_good_answer(question: str, retrieval: Retrieval) -> None:
    said, citations = answer(retrieval, question)

    assert QUESTIONS[question] in said
    assert 1 <= len(sentences(said)) <= SENTENCES_MAX == 2
    assert said[0].isupper() or said.startswith(("make ", "orchestrator "))
    assert said.endswith(".")
    assert all(sentence in TEXTS[citations[0]] for sentence in sentences(said))


@given(
    question=st.sampled_from(sorted(QUESTIONS)),
    written=st.sampled_from([str.lower, str.upper, lambda text: f"  {text.rstrip('?')} "]),
)
def test_case_and_marks_of_a_question_change_nothing(question: str, written: object) -> None:
    assert callable(written)
    retrieval = Retrieval(INSTALLED)

    assert answer(retrieval, written(question)) == answer(retrieval, question)


def test_a_follow_up_question_is_not_answered_by_the_earlier_one_again() -> None:
    given = {
        "query": "And what happens when one fails?",
        "history": [{"role": "user", "content": "What is a consumer group?"}],
    }

    said = json.loads(generate(json.dumps(given), Retrieval(INSTALLED).search).output)["answer"]

    assert "the group rebalances" in said


@pytest.mark.parametrize(
    "forms",
    [
        "retry retries retried retrying",
        "cancel cancels cancelled cancelling",
        "create created creates creating",
        "process processes processed",
        "stop stopped",
    ],
)
def test_the_forms_of_a_word_are_one_word(forms: str) -> None:
    assert len(set(terms(forms))) == 1


@pytest.mark.parametrize("word", ["string", "speed", "this", "address", "need", "status"])
def test_what_only_looks_like_an_ending_stays(word: str) -> None:
    assert terms(word) in ((word,), ())


def test_a_page_of_first_questions_answers_each_of_its_headings() -> None:
    page = Path("orchestrator/local/demo/corpus/first-questions.md").read_text()
    for heading, first in re.findall(r"^## (.+)\n\n(.+)$", page, re.MULTILINE):
        said, _ = answer(Retrieval(INSTALLED), heading)
        assert said.startswith(first.replace("`", "")), heading
