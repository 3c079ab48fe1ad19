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
from orchestrator.local.demo.passages import heading_of
from orchestrator.local.demo.prices import cost_micros
from orchestrator.local.demo.retrieval import Document
from orchestrator.local.demo.text import sentences, terms, tokens
from schemas.records import Usage

MODEL = "extractive-1"

SENTENCES_MAX = 2
"""The most sentences of an answer."""

NO_ANSWER = "I found no passage that answers this question."
"""The answer when no sentence of the documents shares a word with the question."""

KNOWLEDGE_TOP_K = 5
"""How many passages of its own knowledge the model uses if it gets no documents."""

HISTORY_TURNS_MAX = 8
"""How many of the last turns of a conversation can be quoted."""

Search = Callable[[str, int], list[Document]]
"""Finds documents for a query; takes the query and their maximum number."""

_HEADING_SHARE = 0.6
"""A heading that has more than this share of its and the question's words is the question."""
_ASKS_FOR_A_TERM = re.compile(
    r"what(?:'s| is| are) (.+?)\s*\??|what (?:do|does) (.+?) (?:mean|do)\s*\??", re.IGNORECASE
)
_SUBJECT = re.compile(r"(?!The |This |That )((?:\S+ ){1,6}?)(?:is|are) (?:an?|one|the) ")
_FOLLOW_UP_WEIGHT = 0.3
_HEADING_WEIGHT = 0.6
"""What a word of the heading counts beside one of the sentence itself."""
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
    heading: tuple[str, ...]
    """The words of the heading above it."""
    number: int
    """Its place in the document, from 0."""
    rank: int
    """Place of the document among those of its kind, from 0."""
    fit: float
    """How well the document fits beside the best one, 0 to 1; 1 where nobody said."""


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
    highest = max((document.score for document in documents), default=0.0)
    return [
        _Sentence(
            text,
            document.id,
            terms(heading_of(document.title)),
            number,
            rank,
            document.score / highest if highest > 0 else 1.0,
        )
        for rank, document in enumerate(documents)
        for number, text in enumerate(sentences(document.text))
        # What such a sentence introduces was left out of the passage.
        if not text.endswith(":")
    ]


def _last_turn_of_the_person(asked: GenerateInput) -> list[str]:
    return [turn.content for turn in asked.history if turn.role == "user"][-1:]


def _best_sentences(asked: GenerateInput, candidates: Sequence[_Sentence]) -> list[_Sentence]:
    return (
        _definition(asked.query, candidates)
        or _under_its_heading(asked.query, candidates)
        or _by_words(asked, candidates)
    )


def _definition(query: str, candidates: Sequence[_Sentence]) -> list[_Sentence]:
    """The sentence that defines the requested term, and the next ones of its passage."""
    term = term_asked_for(query)
    if not term:
        return []
    for place, candidate in enumerate(candidates):
        if _defines(candidate, term):
            return _passage_from(candidates, place)
    return []


def _under_its_heading(query: str, candidates: Sequence[_Sentence]) -> list[_Sentence]:
    """The first sentences of the passage whose heading is the question, or most of it."""
    asked = set(terms(query))
    for place, candidate in enumerate(candidates):
        heading = set(candidate.heading)
        if candidate.number == 0 and len(heading & asked) > _HEADING_SHARE * len(heading | asked):
            return _passage_from(candidates, place)
    return []


def _passage_from(candidates: Sequence[_Sentence], place: int) -> list[_Sentence]:
    """The sentence at a place, and the next ones of its passage."""
    following = candidates[place : place + SENTENCES_MAX]
    same = (s for s in following if s.document == candidates[place].document)
    return list({sentence.text: sentence for sentence in same}.values())


def term_asked_for(query: str) -> tuple[str, ...]:
    """The words of X in "What is an X?" or "What does X mean (or do)?"; else empty."""
    asked = _ASKS_FOR_A_TERM.fullmatch(query.strip())
    return terms(asked[1] or asked[2]) if asked else ()


def _defines(sentence: _Sentence, term: tuple[str, ...]) -> bool:
    """Whether a sentence says "An X is ..." of this term, or of a longer name that ends in it."""
    subject = _SUBJECT.match(sentence.text)
    named = terms(subject[1]) if subject else ()
    return named == term or (named == sentence.heading and named[-len(term) :] == term)


def _by_words(asked: GenerateInput, candidates: Sequence[_Sentence]) -> list[_Sentence]:
    weights = _weights(asked, candidates)
    words = set(terms(asked.query))
    scored = [(_score(one, words, weights), -place) for place, one in enumerate(candidates)]
    best = sorted((pair for pair in scored if pair[0] > 0), reverse=True)
    if not best:
        return []
    # Sentences of two passages beside each other seldom make sense, and a second sentence seldom
    # without the first: the answer is from one passage, and from its beginning where it can be.
    shares = {-negated for _, negated in best}
    place = -best[0][1]
    if candidates[place].number == 1 and place - 1 in shares:
        place -= 1
    following = _passage_from(candidates, place)
    return [s for number, s in enumerate(following, place) if number in shares]


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


def _score(candidate: _Sentence, asked: set[str], weights: dict[str, float]) -> float:
    """Weight of the shared words, lower for long sentences and for documents that fit less."""
    words = terms(candidate.text)
    above = (asked & set(candidate.heading)).difference(words)
    shared = sum(weights.get(word, 0.0) for word in set(words))
    shared += _HEADING_WEIGHT * sum(weights.get(word, 0.0) for word in above)
    if shared == 0:
        return 0.0
    position = 1 + _POSITION_WEIGHT * candidate.rank
    return candidate.fit**2 * shared / math.sqrt(4 + len(words)) / position


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
