"""The reference model answers in the words of its documents, cites them, and has its price."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.local.demo.answer import Answer, BadInputError
from orchestrator.local.demo.prices import PRICES, cost_micros
from orchestrator.local.demo.rag_engine import NO_ANSWER, SENTENCES_MAX, generate
from orchestrator.local.demo.retrieval import Document
from orchestrator.local.demo.text import sentences, tokens
from schemas.records import Usage

LAKE = {"id": "lake", "title": "", "text": "The lake is deep. Fish live in the lake.\nIt freezes."}
HILL = {"id": "hill", "title": "", "text": "The hill is high. A castle stands on the hill."}


def an_answer(query: str, *documents: dict[str, str], **fields: object) -> Answer:
    return generate(json.dumps({"query": query, "documents": documents, **fields}))


def output_of(answer: Answer) -> dict[str, Any]:
    output: dict[str, Any] = json.loads(answer.output)
    return output


def test_the_sentence_that_answers_is_the_answer_and_its_document_is_cited() -> None:
    output = output_of(an_answer("Where does the castle stand?", LAKE, HILL))

    assert output == {"answer": "A castle stands on the hill.", "citations": ["hill"]}


VOCABULARY = ("kafka", "topic", "lake", "hill", "castle", "fish", "deep", "the", "is", "key")
WORDS = st.sampled_from(VOCABULARY)
SENTENCES = st.lists(WORDS, min_size=1, max_size=8).map(lambda words: " ".join(words) + ".")
TEXTS = st.lists(SENTENCES, max_size=6).map("\n".join)


@given(query=SENTENCES, texts=st.lists(TEXTS, max_size=6))
def test_every_sentence_of_an_answer_stands_in_a_cited_document(
    query: str, texts: list[str]
) -> None:
    documents = {f"d{n}": text for n, text in enumerate(texts)}

    output = output_of(
        an_answer(
            query, *({"id": id_, "title": "", "text": text} for id_, text in documents.items())
        )
    )

    cited = [documents[id_] for id_ in output["citations"]]
    said = sentences(output["answer"]) if cited else ()
    assert len(said) <= SENTENCES_MAX
    assert len(set(output["citations"])) == len(cited)
    assert all(any(sentence in text for text in cited) for sentence in said)
    assert all(any(sentence in text for sentence in said) for text in cited)
    assert cited or output["answer"] == NO_ANSWER


@pytest.mark.parametrize("documents", [[], [{"id": "a", "title": "", "text": ""}], [LAKE]])
def test_without_a_passage_that_fits_the_answer_says_so(documents: list[dict[str, str]]) -> None:
    output = output_of(an_answer("Who was Ada Lovelace?", *documents))

    assert output == {"answer": NO_ANSWER, "citations": []}


def test_the_documents_may_be_absent() -> None:
    assert output_of(generate('{"query": "hello"}'))["answer"] == NO_ANSWER


def test_a_follow_up_question_is_understood_from_the_last_turn_of_the_person() -> None:
    history = [
        {"role": "user", "content": "Tell me about the castle."},
        {"role": "assistant", "content": "Fish live in the lake."},
    ]

    output = output_of(an_answer("And where?", LAKE, HILL, history=history))

    assert output["answer"] == "A castle stands on the hill."


def test_the_same_input_has_the_same_answer_and_the_same_price() -> None:
    assert an_answer("lake", LAKE, HILL) == an_answer("lake", LAKE, HILL)


def test_usage_counts_all_that_was_read_and_said() -> None:
    history = [{"role": "user", "content": "Hello there!"}]

    answer = an_answer("Where does the castle stand?", LAKE, HILL, history=history)

    # Query, history, lake, hill; 35 * 0.15 + 7 * 0.60 = 9.45 micro-USD.
    assert answer.usage == Usage(
        model="extractive-1",
        input_tokens=6 + 3 + 14 + 12,
        output_tokens=7,
        cost_micros=10,
        estimated=False,
    )


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        (" \n", 0),
        ("Hello, world!", 4),
        ("it's", 3),
        ("v1.2", 3),
        ("a_b", 3),
        ("编排服务", 4),
        ("über", 1),
    ],
)
def test_tokens_are_words_and_punctuation_marks(text: str, count: int) -> None:
    assert tokens(text) == count


def test_the_price_is_that_of_the_table() -> None:
    price = PRICES["extractive-1"]

    million = 1_000_000
    assert cost_micros("extractive-1", input_tokens=million, output_tokens=0) == price.input_micros
    assert cost_micros("extractive-1", input_tokens=0, output_tokens=million) == price.output_micros
    assert (price.input_micros, price.output_micros) == (150_000, 600_000)


@pytest.mark.parametrize(
    ("input_tokens", "output_tokens", "micros"), [(0, 0, 0), (1, 0, 1), (20, 0, 3), (20, 1, 4)]
)
def test_a_price_is_rounded_up_to_a_whole_micro_dollar(
    input_tokens: int, output_tokens: int, micros: int
) -> None:
    cost = cost_micros("extractive-1", input_tokens=input_tokens, output_tokens=output_tokens)

    assert cost == micros


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param("{}", "INPUT_INVALID", id="no query"),
        pytest.param("", "INPUT_INVALID", id="nothing"),
        pytest.param('{"query": ""}', "QUERY_EMPTY", id="empty query"),
        pytest.param('{"query": "a", "documents": {}}', "INPUT_INVALID", id="documents no array"),
        pytest.param('{"query": "a", "documents": [{}]}', "INPUT_INVALID", id="document empty"),
        pytest.param('{"query": "a", "history": [1]}', "INPUT_INVALID", id="turn no object"),
    ],
)
def test_a_wrong_input_is_refused_with_a_code(request_: str, code: str) -> None:
    with pytest.raises(BadInputError) as caught:
        generate(request_)

    assert caught.value.code == code


# --- Chat: no documents come along ---


def known(query: str, top_k: int) -> list[Document]:
    return [Document(id="k", title="", text="A castle has a moat. Fish swim.")][:top_k]


def test_without_documents_the_model_answers_from_what_it_knows() -> None:
    output = output_of(generate('{"query": "What has a castle?"}', known))

    assert output == {"answer": "A castle has a moat.", "citations": ["k"]}


def test_an_empty_list_of_documents_is_an_answer_of_the_retrieval() -> None:
    output = output_of(generate('{"query": "What has a castle?", "documents": []}', known))

    assert output["answer"] == NO_ANSWER


def test_what_was_said_before_can_be_the_answer_but_not_what_was_asked() -> None:
    history = [
        {"role": "user", "content": "My name is Ada. Is my name long?"},
        {"role": "assistant", "content": "Hello."},
    ]

    output = output_of(generate(json.dumps({"query": "My name?", "history": history})))

    assert output == {"answer": "My name is Ada.", "citations": ["history#1"]}


def test_the_chunks_of_an_answer_are_the_answer() -> None:
    answer = generate('{"query": "What has a castle?"}', known)

    assert "".join(answer.chunks) == output_of(answer)["answer"]
    assert len(answer.chunks) == 5
