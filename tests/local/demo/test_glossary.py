"""A question for a term is answered by the term's definition, in plain text."""

import json
import re
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.local.demo.passages import load_passages
from orchestrator.local.demo.rag_engine import generate, term_asked_for
from orchestrator.local.demo.retrieval import Retrieval

GLOSSARY = (resources.files("orchestrator.local.demo") / "corpus" / "glossary.md").read_text(
    "utf-8"
)
DEFINITIONS = dict(re.findall(r"^## (.+)\n\n(.+)$", GLOSSARY, re.MULTILINE))
KNOWN = {
    "idempotency key": "An idempotency key is a unique string",
    "projection": "A projection is a table or document",
    "agent": "An agent is a language model in a loop",
}
"""Terms that have a page of their own."""
INSTALLED = Retrieval(load_passages(Path("no-such-folder")))
IN_A_CLONE = Retrieval(load_passages(Path("docs")))


def answer(retrieval: Retrieval, question: str, *, chat: bool = False) -> str:
    if chat:
        given = json.dumps({"query": question})
        return str(json.loads(generate(given, retrieval.search).output)["answer"])
    found = json.loads(retrieval.retrieve(json.dumps({"query": question})).output)
    given = json.dumps({"query": question, "documents": found["documents"]})
    return str(json.loads(generate(given).output)["answer"])


def article(term: str) -> str:
    return "an" if term[0].lower() in "aeiou" else "a"


@pytest.mark.parametrize("chat", [False, True], ids=["rag", "chat"])
@pytest.mark.parametrize("retrieval", [INSTALLED, IN_A_CLONE], ids=["installed", "clone"])
@pytest.mark.parametrize("term", DEFINITIONS)
def test_what_is_a_term_is_answered_by_its_definition(
    term: str, retrieval: Retrieval, chat: bool
) -> None:
    given = answer(retrieval, f"What is {article(term)} {term.lower()}?", chat=chat)

    assert given.startswith(DEFINITIONS[term])
    assert not re.search(r"[`\[\]#|]|\*\*", given)


@pytest.mark.parametrize("term", KNOWN)
def test_terms_that_have_a_page_are_defined_by_it(term: str) -> None:
    assert answer(INSTALLED, f"What is {article(term)} {term}?").startswith(KNOWN[term])


def test_every_entry_begins_with_a_sentence_that_defines_its_term() -> None:
    assert len(DEFINITIONS) >= 15
    for term, definition in DEFINITIONS.items():
        assert definition.startswith(f"{article(term).capitalize()} {term.lower()} is "), term


@given(
    term=st.sampled_from(sorted(DEFINITIONS)),
    form=st.sampled_from(["What is {}?", "what's {}", "What does {} mean?", "WHAT IS {} ?"]),
)
def test_the_question_may_be_put_in_other_words(term: str, form: str) -> None:
    question = form.format(f"{article(term)} {term.lower()}")

    assert answer(INSTALLED, question).startswith(DEFINITIONS[term])


@given(term=st.sampled_from(sorted(DEFINITIONS)))
def test_a_plural_is_the_same_term(term: str) -> None:
    assert answer(INSTALLED, f"What are {term.lower()}s?").startswith(DEFINITIONS[term])


@pytest.mark.parametrize(
    "question", ["What happens to a record?", "Where is a lane?", "What is it?", "lanes", "Why?"]
)
def test_another_question_asks_for_no_term(question: str) -> None:
    assert term_asked_for(question) == ()
