"""Reference retrieval: BM25 over passages. Pure once built: no clock, no I/O."""

import math
from collections import Counter
from collections.abc import Sequence

import bm25s
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from orchestrator.local.demo.answer import Answer, BadInputError, dump, load
from orchestrator.local.demo.passages import Passage, heading_of
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


class PassagesInput(Struct, frozen=True):
    """Input of the method ``Passages``; other fields are ignored."""

    query: str
    vectors: list[list[float]] = []
    """The vector of the query, as the method ``Embed`` of a model answers; without it, passages
    are found by words."""
    top_k: int = 2


class PassagesOutput(Struct, frozen=True):
    """Output of ``Passages``: for the prompt of a language model."""

    text: str
    """The passages with a blank line between them. The best one is the last: small models heed what
    is next to the question."""
    citations: list[str]
    """Their ids, the best first."""


class Retrieval:
    """Finds passages by the words of a query; the better its heading fits, the earlier it comes.

    Source of the ranking: Robertson and Zaragoza, "The Probabilistic Relevance Framework:
    BM25 and Beyond", 2009, in Lucene's variant (k1 1.5, b 0.75), by the library bm25s.

    Args:
        passages: what can be found.
        vectors: one of length 1 for each passage, for queries that come with a vector.

    Raises:
        ValueError: there are no passages, or not as many vectors.
    """

    def __init__(
        self, passages: Sequence[Passage], vectors: npt.NDArray[np.float32] | None = None
    ) -> None:
        if vectors is not None and len(vectors) != len(passages):
            raise ValueError(f"there are {len(vectors)} vectors for {len(passages)} passages")
        self._vectors = vectors
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

    def passages(self, request: str) -> Answer:
        """Answer a ``Passages`` call.

        Raises:
            BadInputError: as :meth:`retrieve`, or ``VECTOR_INVALID``.
        """
        asked = load(request, PassagesInput)
        if not asked.query.strip():
            raise BadInputError("QUERY_EMPTY", "the query is empty")
        if not 1 <= asked.top_k <= TOP_K_MAX:
            raise BadInputError("TOP_K_INVALID", f"top_k must be 1 to {TOP_K_MAX}")
        if asked.vectors and self._vectors is not None:
            found = self._nearest(asked.vectors, asked.top_k)
        else:
            found = self.search(asked.query, asked.top_k)
        text = "\n\n".join(document.text for document in reversed(found))
        return Answer(output=dump(PassagesOutput(text, [document.id for document in found])))

    def _nearest(self, vectors: list[list[float]], top_k: int) -> list[Document]:
        """The passages whose vectors point most in the direction of the query's."""
        assert self._vectors is not None
        if len(vectors) != 1 or len(vectors[0]) != self._vectors.shape[1]:
            raise BadInputError("VECTOR_INVALID", "vectors must be one, as long as ours")
        scores = self._vectors @ np.asarray(vectors[0], dtype=np.float32)
        best = np.argsort(-scores, kind="stable")[:top_k]
        return [self._document(int(place), float(scores[place])) for place in best]

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


def _weights_in(headings: Sequence[frozenset[str]]) -> dict[str, float]:
    """The weight of each word by its rarity in headings; that of unknown words at ``""``."""
    holding = Counter(word for heading in headings for word in heading)
    holding[""] = 0
    return {word: math.log(2 + len(headings) / (1 + n)) for word, n in holding.items()}
