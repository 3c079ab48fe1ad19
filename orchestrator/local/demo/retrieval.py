"""Reference retrieval: BM25 over passages. Pure once built: no clock, no I/O."""

import math
from collections import Counter
from collections.abc import Sequence

import bm25s
from msgspec import Struct

from orchestrator.local.demo.answer import Answer, BadInputError, dump, load
from orchestrator.local.demo.passages import Passage
from orchestrator.local.demo.text import terms

TOP_K_MAX = 100

_PACKAGED = 1.3
"""The packaged corpus is written as answers, so it comes before pages that fit as well."""


class RetrieveInput(Struct, frozen=True):
    """Input of the method ``Retrieve``; other fields are ignored."""

    query: str
    top_k: int = 20


class Document(Struct, frozen=True):
    """A passage that was found. ``score`` is above 0 and comparable within one answer only."""

    id: str
    title: str
    text: str
    score: float = 0.0


class RetrieveOutput(Struct, frozen=True):
    """Output of ``Retrieve``: the best first."""

    documents: list[Document]


class Retrieval:
    """Finds passages by the words of a query; the better its heading fits, the earlier it comes.

    Source of the ranking: Robertson and Zaragoza, "The Probabilistic Relevance Framework:
    BM25 and Beyond", 2009, in Lucene's variant (k1 1.5, b 0.75), by the library bm25s.
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        if not passages:
            raise ValueError("there are no passages to search in")
        self._passages = passages
        self._headings = [frozenset(terms(heading_of(passage.title))) for passage in passages]
        self._kinds = [_PACKAGED if p.id.startswith("corpus/") else 1.0 for p in passages]
        self._weights = _weights_in(self._headings)
        self._index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
        self._index.index(
            [list(terms(f"{passage.title} {passage.text}")) for passage in passages],
            show_progress=False,
        )

    def retrieve(self, request: str) -> Answer:
        """Answer a ``Retrieve`` call; it costs nothing, so it has no usage.

        Raises:
            BadInputError: ``INPUT_INVALID``, ``QUERY_EMPTY`` or ``TOP_K_INVALID``.
        """
        asked = load(request, RetrieveInput)
        if not asked.query.strip():
            raise BadInputError("QUERY_EMPTY", "the query is empty")
        if not 1 <= asked.top_k <= TOP_K_MAX:
            raise BadInputError("TOP_K_INVALID", f"top_k must be 1 to {TOP_K_MAX}")
        return Answer(output=dump(RetrieveOutput(self.search(asked.query, asked.top_k))))

    def search(self, query: str, top_k: int) -> list[Document]:
        """At most ``top_k`` passages that share a word with the query, by falling score."""
        known = self._index.get_tokens_ids(list(terms(query)))
        if not known:
            return []
        scores: list[float] = self._index.get_scores_from_ids(known).tolist()
        asked, best = frozenset(terms(query)), max(scores)
        scores = [score * kind for score, kind in zip(scores, self._kinds, strict=True)]
        # A section with the query's words in its heading is about them, however common they are.
        scores = [
            score + best * self._likeness(asked, heading) if score else score
            for score, heading in zip(scores, self._headings, strict=True)
        ]
        ranked = sorted((-score, place) for place, score in enumerate(scores) if score > 0)
        return [self._document(place, -negated) for negated, place in ranked[:top_k]]

    def _likeness(self, asked: frozenset[str], heading: frozenset[str]) -> float:
        """How much of a query and a heading is shared, 0 to 1; rare words count for more."""
        both = self._weight(asked & heading)
        return both / self._weight(asked | heading) if both else 0.0

    def _weight(self, words: frozenset[str]) -> float:
        return sum(self._weights.get(word, self._weights[""]) for word in words)

    def _document(self, place: int, score: float) -> Document:
        passage = self._passages[place]
        return Document(
            id=passage.id, title=passage.title, text=passage.text, score=round(score, 4)
        )


def heading_of(title: str) -> str:
    """The innermost heading of a passage's title."""
    return title.rsplit(" > ", 1)[-1]


def _weights_in(headings: Sequence[frozenset[str]]) -> dict[str, float]:
    """The weight of each word by its rarity in headings; that of unknown words at ``""``."""
    holding = Counter(word for heading in headings for word in heading)
    holding[""] = 0
    return {word: math.log(2 + len(headings) / (1 + n)) for word, n in holding.items()}
