"""The reference retrieval finds the right passage, in order, and refuses bad input."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.local.demo.answer import BadInputError
from orchestrator.local.demo.passages import PASSAGE_MAX_CHARS, Passage, cut, load_passages
from orchestrator.local.demo.retrieval import Document, Retrieval

PASSAGES = load_passages(Path("no-such-folder"))
RETRIEVAL = Retrieval(PASSAGES)
VOCABULARY = ("kafka", "model", "event", "retry", "key", "search", "the", "x")


def documents_of(query: str, **fields: object) -> list[Document]:
    answer = RETRIEVAL.retrieve(json.dumps({"query": query, **fields}))
    return [Document(**document) for document in json.loads(answer.output)["documents"]]


@pytest.mark.parametrize(
    ("query", "phrase"),
    [
        ("How do consumers of a group divide the partitions?", "Consumers that share a group id"),
        ("What is an idempotency key?", "An idempotency key is a unique string"),
        ("Why does backoff need jitter?", "Jitter spreads the pauses"),
        ("word error rate of speech recognition", "The word error rate counts"),
        ("What does an HNSW index do?", "An HNSW index is a layered graph"),
        ("how is a poison message handled", "A poison message fails every time"),
        ("What limits the iterations of an agent?", "Without a limit of iterations"),
        ("When should a snapshot be used?", "A snapshot stores the state"),
    ],
)
def test_the_passage_that_answers_comes_first(query: str, phrase: str) -> None:
    documents = documents_of(query)

    assert phrase in documents[0].text


@given(
    words=st.lists(st.sampled_from(VOCABULARY), min_size=1),
    top_k=st.integers(1, 30),
)
def test_at_most_top_k_documents_come_by_falling_score_and_each_once(
    words: list[str], top_k: int
) -> None:
    documents = documents_of(" ".join(words), top_k=top_k)

    scores = [document.score for document in documents]
    assert len(documents) <= top_k
    assert scores == sorted(scores, reverse=True)
    assert all(score > 0 for score in scores)
    assert len({document.id for document in documents}) == len(documents)


def test_twenty_documents_are_the_default() -> None:
    passages = [Passage(id=f"p#{n}", title="", text=f"common word {n}") for n in range(40)]

    answer = Retrieval(passages).retrieve('{"query": "common"}')

    assert len(json.loads(answer.output)["documents"]) == 20


def test_a_query_without_a_known_word_finds_nothing() -> None:
    assert documents_of("xyzzy plugh") == []


def test_chinese_is_matched_by_pairs_of_characters() -> None:
    passages = [
        Passage(id="a", title="", text="任务编排服务"),
        Passage(id="b", title="", text="语音识别"),
    ]

    found = Retrieval(passages).search("什么是语音?", 5)

    assert [document.id for document in found] == ["b"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param("{}", "INPUT_INVALID", id="no query"),
        pytest.param("[]", "INPUT_INVALID", id="no object"),
        pytest.param("not json", "INPUT_INVALID", id="no JSON"),
        pytest.param('{"query": 1}', "INPUT_INVALID", id="query is no text"),
        pytest.param('{"query": " "}', "QUERY_EMPTY", id="blank query"),
        pytest.param('{"query": "a", "top_k": 0}', "TOP_K_INVALID", id="top_k 0"),
        pytest.param('{"query": "a", "top_k": 101}', "TOP_K_INVALID", id="top_k 101"),
        pytest.param('{"query": "a", "top_k": true}', "INPUT_INVALID", id="top_k is no number"),
        pytest.param("[" * 100_000, "INPUT_INVALID", id="too deep"),
    ],
)
def test_a_wrong_input_is_refused_with_a_code(request_: str, code: str) -> None:
    with pytest.raises(BadInputError) as caught:
        RETRIEVAL.retrieve(request_)

    assert caught.value.code == code


def test_a_refusal_does_not_repeat_the_input() -> None:
    with pytest.raises(BadInputError) as caught:
        RETRIEVAL.retrieve('{"query": "a", "top_k": "my secret"}')

    assert "my secret" not in str(caught.value)


# --- Passages ---


def test_the_docs_and_the_readme_are_found_beside_the_packaged_corpus(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "lanes.md").write_text("# Lanes\n\nA lane is a priority class.\n")
    (tmp_path / "README.md").write_text("# Read me\n\nStart here.\n")

    passages = load_passages(docs)

    ids = {passage.id for passage in passages}
    assert {"docs/lanes.md#1", "README.md#1", "corpus/kafka.md#1"} <= ids


def test_a_text_is_cut_at_its_headings_and_keeps_them_as_title() -> None:
    passages = cut("a.md", "# Top\nfirst\nline\n\n## Sub\n\nsecond\n\n# Next\n\nthird\n")

    assert passages == [
        Passage(id="a.md#1", title="Top", text="first line"),
        Passage(id="a.md#2", title="Top > Sub", text="second"),
        Passage(id="a.md#3", title="Next", text="third"),
    ]


def test_code_tables_and_comments_are_no_passages() -> None:
    markdown = (
        "# T\n\n```python\n# no heading\n```\n\n| a | b |\n|---|---|\n\n<!-- x\n\ny -->\nText.\n"
    )

    assert cut("a.md", markdown) == [Passage(id="a.md#1", title="T", text="Text.")]


@given(st.lists(st.text("abc. \n#|`", max_size=400), max_size=10).map("\n\n".join))
def test_a_long_section_is_cut_between_paragraphs(markdown: str) -> None:
    for passage in cut("a.md", markdown):
        paragraphs = passage.text.split("\n")

        assert len(paragraphs) == 1 or sum(map(len, paragraphs)) <= PASSAGE_MAX_CHARS
        assert all(paragraphs)


def test_without_passages_there_is_no_retrieval() -> None:
    with pytest.raises(ValueError, match="no passages"):
        Retrieval([])


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("See [`cli.md`](cli.md), `make run` and **this**.", "See cli.md, make run and this."),
        ("- one\n- two", "one two"),
        ("1. **The door.** A task arrives.", "The door. A task arrives."),
        ("*Fix* 2 * 3 * 4 and a_b_c.", "Fix 2 * 3 * 4 and a_b_c."),
        ("> A quotation.", "> A quotation."),
    ],
)
def test_a_passage_has_no_marks_of_markdown(markdown: str, text: str) -> None:
    assert [passage.text for passage in cut("a.md", markdown)] == [text]
