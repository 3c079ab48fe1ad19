"""The answer of a model as it grows, and what it becomes as the output of a step. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from agents.services.models.tools.growing_calls import CalledTool, CallPiece, GrowingCalls


class TokenCount(Struct, frozen=True):
    """``usage`` of OpenAI's API."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def counted(self) -> tuple[int, int] | None:
        """Tokens of the prompt and of the answer; None: these are no counts."""
        counts = self.prompt_tokens or 0, self.completion_tokens or 0
        return counts if all(0 <= count <= _TOKENS_MAX for count in counts) else None


_TOKENS_MAX = 10**9
"""No call has so many; with its price a count must stay within the bounds of a step's usage."""


class Piece(Struct, frozen=True):
    """A part of the answer, or the whole: ``delta`` or ``message``."""

    content: str | None = None
    refusal: str | None = None
    tool_calls: list[CallPiece] | None = None


class AnswerChoice(Struct, frozen=True):
    """One answer; the first one counts."""

    index: int = 0
    delta: Piece | None = None
    message: Piece | None = None
    finish_reason: str | None = None


class Part(Struct, frozen=True):
    """An event of a stream, or the body of an answer without one. Unknown fields are ignored."""

    model: str | None = None
    choices: list[AnswerChoice] | None = None
    usage: TokenCount | None = None
    error: Any = None
    """Some servers report a failure inside of a stream that began with 200."""


class Embedding(Struct, frozen=True):
    """One vector."""

    embedding: list[float]
    index: int = 0


class Embeddings(Struct, frozen=True):
    """The answer of ``/embeddings``."""

    data: list[Embedding]
    model: str | None = None
    usage: TokenCount | None = None


class AnswerTooLongError(Exception):
    """The text is larger than allowed."""


class GrowingAnswer:
    """The text of an answer, as far as it has come.

    Args:
        max_bytes: of the text and the tool calls in UTF-8.
    """

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._texts: list[str] = []
        self._calls = GrowingCalls()
        self.finish_reason: str | None = None
        self.refused = False
        """Whether the model declined to answer."""
        self.tokens: TokenCount | None = None
        self.model: str | None = None

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    @property
    def calls(self) -> list[CalledTool]:
        """The tools that the answer calls, as far as they have come."""
        return self._calls.calls

    def add(self, part: Part) -> str:
        """Take an event; return the text that it adds, which may be empty.

        Raises:
            AnswerTooLongError: see that class.
        """
        self.model = part.model or self.model
        self.tokens = part.usage or self.tokens
        added = ""
        for choice in part.choices or ():
            if choice.index:
                continue
            self.finish_reason = choice.finish_reason or self.finish_reason
            for piece in filter(None, (choice.delta, choice.message)):
                self.refused = self.refused or bool(piece.refusal)
                added += piece.content or ""
                self._left -= self._calls.add(piece.tool_calls or ())
        self._left -= len(added.encode(errors="surrogatepass"))
        if self._left < 0:
            raise AnswerTooLongError
        self._texts.append(added)
        return added


def output_of(answer: GrowingAnswer, model: str, value: Any = None) -> str:
    """The output of ``Chat``; ``value`` is the answer of a prompt with a schema."""
    document: dict[str, Any] = {
        "text": answer.text,
        "model": model,
        "finish_reason": answer.finish_reason or "stop",
    }
    if value is not None:
        document["value"] = value
    return msgspec.json.encode(document).decode()
