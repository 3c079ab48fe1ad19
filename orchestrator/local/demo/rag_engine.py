"""Reference generation: an extractive model that answers in the words of its documents.

Pure: the same input gives the same answer, the same tokens and the same cost.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec import Struct

from orchestrator.local.demo.answer import Answer, BadInputError, dump, load
from orchestrator.local.demo.prices import cost_micros
from orchestrator.local.demo.retrieval import Document
from orchestrator.local.demo.text import sentences, terms, tokens
from schemas.records import Usage

MODEL = "extractive-1"

SENTENCES_MAX = 3
"""The most sentences of an answer."""

NO_ANSWER = "I found no passage that answers this question."
"""The answer when no sentence of the documents shares a word with the question."""

KNOWLEDGE_TOP_K = 5
"""How many passages of its own knowledge the model uses if it gets no documents."""

HISTORY_TURNS_MAX = 8
"""How many of the last turns of a conversation can be quoted."""

Search = Callable[[str, int], list[Document]]
"""Finds documents for a query; takes the query and their maximum number."""

_RELEVANT_SHARE = 0.4
"""A sentence with less than this share of the best one's score is left out."""
_ASKS_FOR_A_TERM = re.compile(
    r"what(?:'s| is| are) (.+?)\s*\??|what (?:do|does) (.+?) mean\s*\??", re.IGNORECASE
)
_SUBJECT = re.compile(r"(?!The |This |That )((?:\S+ ){1,6}?)(?:is|are) (?:an?|one|the) ")
_FOLLOW_UP_WEIGHT = 0.3
_POSITION_WEIGHT = 0.1


class Turn(Struct, frozen=True):
    """An earlier turn of the conversation."""

    role: str = "user"
    content: str = ""


class GenerateInput(Struct, frozen=True):
    """Input of the method ``Generate``; other fields are ignored."""

    query: str
    documents: list[Document] | None = None
    """The source of the answer. Absent or null, as in a chat: the earlier turns, and the model's
    own knowledge. An empty list counts as documents, too: nothing was found."""
    history: list[Turn] = []


class GenerateOutput(Struct, frozen=True):
    """Output of ``Generate``. Each sentence of the answer is from a cited document."""

    answer: str
    citations: list[str]


def generate(request: str, knowledge: Search | None = None) -> Answer:
    """Answer a ``Generate`` call.

    Tokens are those of :func:`orchestrator.local.demo.text.tokens`: exact for this model, so the
    usage is not an estimate. Input is the query, the history, and all given documents.

    Args:
        request: the input.
        knowledge: the model's own knowledge; None: no knowledge.

    Raises:
        BadInputError: ``INPUT_INVALID`` or ``QUERY_EMPTY``.
    """
    asked = load(request, GenerateInput)
    if not asked.query.strip():
        raise BadInputError("QUERY_EMPTY", "the query is empty")
    best = _best_sentences(asked, _candidates(asked, knowledge))
    output = GenerateOutput(
        answer=" ".join(sentence.text for sentence in best) or NO_ANSWER,
        citations=list(dict.fromkeys(sentence.document for sentence in best)),
    )
    chunks = tuple(re.findall(r"\s*\S+", output.answer))
    return Answer(output=dump(output), usage=_usage(asked, output), chunks=chunks)


def answer_from(query: str, documents: list[Document]) -> str:
    """The answer to one question from these documents; :data:`NO_ANSWER` without a match."""
    asked = GenerateInput(query=query, documents=documents)
    best = _best_sentences(asked, _candidates(asked, None))
    return " ".join(sentence.text for sentence in best) or NO_ANSWER


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    document: str
    rank: int
    """Place of the document among those of its kind, from 0."""


def _candidates(asked: GenerateInput, knowledge: Search | None) -> list[_Sentence]:
    """All sentences that could be in the answer."""
    if asked.documents is not None:
        return _sentences_of(asked.documents)
    turns = list(enumerate(asked.history, 1))[-HISTORY_TURNS_MAX:]
    said = [
        Document(id=f"history#{number}", title=turn.role, text=turn.content)
        for number, turn in reversed(turns)
    ]
    # An earlier question does not answer anything.
    quotes = [s for s in _sentences_of(said) if not s.text.endswith(("?", "？"))]  # noqa: RUF001
    topic = " ".join([*_last_turn_of_the_person(asked), asked.query])
    known = knowledge(topic, KNOWLEDGE_TOP_K) if knowledge is not None else []
    return quotes + _sentences_of(known)


def _sentences_of(documents: Sequence[Document]) -> list[_Sentence]:
    return [
        _Sentence(text, document.id, rank)
        for rank, document in enumerate(documents)
        for text in sentences(document.text)
    ]


def _last_turn_of_the_person(asked: GenerateInput) -> list[str]:
    return [turn.content for turn in asked.history if turn.role == "user"][-1:]


def _best_sentences(asked: GenerateInput, candidates: Sequence[_Sentence]) -> list[_Sentence]:
    return _definition(asked.query, candidates) or _by_words(asked, candidates)


def _definition(query: str, candidates: Sequence[_Sentence]) -> list[_Sentence]:
    """The sentence that defines the requested term, and the next ones of its passage."""
    term = term_asked_for(query)
    if not term:
        return []
    for place, candidate in enumerate(candidates):
        if _defines(candidate.text, term):
            following = candidates[place : place + SENTENCES_MAX]
            same = (s for s in following if s.document == candidate.document)
            return list({sentence.text: sentence for sentence in same}.values())
    return []


def term_asked_for(query: str) -> tuple[str, ...]:
    """The words of X in "What is an X?" or "What does X mean?"; empty for other questions."""
    asked = _ASKS_FOR_A_TERM.fullmatch(query.strip())
    return terms(asked[1] or asked[2]) if asked else ()


def _defines(sentence: str, term: tuple[str, ...]) -> bool:
    """Whether a sentence says "An X is ..." of exactly this term."""
    subject = _SUBJECT.match(sentence)
    return subject is not None and terms(subject[1]) == term


def _by_words(asked: GenerateInput, candidates: Sequence[_Sentence]) -> list[_Sentence]:
    weights = _weights(asked, candidates)
    scored = [(_score(candidate, weights), -place) for place, candidate in enumerate(candidates)]
    best = sorted((pair for pair in scored if pair[0] > 0), reverse=True)
    chosen: dict[str, _Sentence] = {}
    for score, negated in best:
        if len(chosen) == SENTENCES_MAX or score < _RELEVANT_SHARE * best[0][0]:
            break
        # Two documents may hold the same sentence; the answer has it once, from the better one.
        chosen.setdefault(candidates[-negated].text, candidates[-negated])
    return list(chosen.values())


def _weights(asked: GenerateInput, candidates: Sequence[_Sentence]) -> dict[str, float]:
    """The weight of each word of the question: higher for words that are rarer in the documents.

    Words of the user's last turn count a little, so that a follow-up question is
    understood.
    """
    holding = Counter(term for candidate in candidates for term in set(terms(candidate.text)))
    earlier = _last_turn_of_the_person(asked)
    weights: dict[str, float] = {}
    for text, factor in [*((content, _FOLLOW_UP_WEIGHT) for content in earlier), (asked.query, 1)]:
        for term in terms(text):
            weights[term] = factor * math.log(1 + len(candidates) / (1 + holding[term]))
    return weights


def _score(candidate: _Sentence, weights: dict[str, float]) -> float:
    """Weight of the shared words, lower for long sentences and for later documents."""
    words = terms(candidate.text)
    shared = sum(weights.get(word, 0.0) for word in set(words))
    if shared == 0:
        return 0.0
    return shared / math.sqrt(4 + len(words)) / (1 + _POSITION_WEIGHT * candidate.rank)


def _usage(asked: GenerateInput, output: GenerateOutput) -> Usage:
    read = [
        asked.query,
        *(turn.content for turn in asked.history),
        *(document.text for document in asked.documents or ()),
    ]
    input_tokens = sum(tokens(text) for text in read)
    output_tokens = tokens(output.answer)
    return Usage(
        model=MODEL,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_micros=cost_micros(MODEL, input_tokens=input_tokens, output_tokens=output_tokens),
        estimated=False,
    )
