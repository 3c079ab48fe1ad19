"""The tool calls of an answer as they grow: servers send them whole, or piece by piece. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec import Struct

_CALL_BYTES = 256
"""What one more call costs of the size of an answer, however short it is."""


class FunctionPiece(Struct, frozen=True):
    """A part of the name and the arguments of a call."""

    name: str | None = None
    arguments: str | None = None


class CallPiece(Struct, frozen=True):
    """A part of a call, or the whole. ``index`` says of which one."""

    index: int | None = None
    function: FunctionPiece = FunctionPiece()


@dataclass(frozen=True, slots=True)
class CalledTool:
    """A call as the model wrote it: nothing of it is checked."""

    name: str
    arguments: str


class GrowingCalls:
    """The calls of one answer, as far as they have come."""

    def __init__(self) -> None:
        self._calls: dict[int, tuple[list[str], list[str]]] = {}

    @property
    def calls(self) -> list[CalledTool]:
        """The calls so far, in the order of their indexes."""
        found = (self._calls[index] for index in sorted(self._calls))
        return [CalledTool("".join(names), "".join(texts)) for names, texts in found]

    def add(self, pieces: Iterable[CallPiece]) -> int:
        """Take parts; return how many bytes they add to the size of the answer."""
        size = 0
        for place, piece in enumerate(pieces):
            index = place if piece.index is None else piece.index
            if index not in self._calls:
                self._calls[index] = ([], [])
                size += _CALL_BYTES
            names, texts = self._calls[index]
            for known, text in ((names, piece.function.name), (texts, piece.function.arguments)):
                if text:
                    known.append(text)
                    size += len(text.encode(errors="surrogatepass"))
        return size
