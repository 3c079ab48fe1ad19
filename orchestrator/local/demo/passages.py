"""The texts of the reference retrieval: Markdown, cut into passages."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

PASSAGE_MAX_CHARS = 900
"""A passage ends before the paragraph that would exceed this; one paragraph is never cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A piece of a section, small enough to cover one topic."""

    id: str
    """``<file>#<number>``, such as ``corpus/kafka.md#2``; stable while the file is unchanged."""
    title: str
    """The headings above it, outermost first."""
    text: str
    """Paragraphs, one a line."""


def heading_of(title: str) -> str:
    """The innermost heading of a passage's title."""
    return title.rsplit(" > ", 1)[-1]


def load_passages(docs_dir: Path) -> list[Passage]:
    """Read the packaged corpus, the pages in ``docs_dir``, and the README beside that folder.

    A folder or README that does not exist adds nothing: an installed program has no docs.
    """
    passages: list[Passage] = []
    for name, source in _sources(docs_dir):
        passages.extend(cut(name, source.read_text(encoding="utf-8")))
    return passages


def cut(name: str, markdown: str) -> list[Passage]:
    """Cut a Markdown text at its headings, and long sections between paragraphs.

    Fenced code, tables, HTML comments and names of tests are left out: nobody asks in their words.
    Markdown's marks are removed, since passages become answers.
    """
    found: list[Passage] = []
    for title, paragraphs in _sections(_without_code(markdown)):
        for text in _pieces(paragraphs):
            found.append(Passage(id=f"{name}#{len(found) + 1}", title=title, text=text))
    return found


def _sources(docs_dir: Path) -> Iterator[tuple[str, Traversable]]:
    corpus = resources.files("orchestrator.local.demo") / "corpus"
    for file in sorted(corpus.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".md"):
            yield f"corpus/{file.name}", file
    for path in sorted(docs_dir.glob("*.md")):
        yield f"docs/{path.name}", path
    readme = docs_dir.parent / "README.md"
    if docs_dir.is_dir() and readme.is_file():
        yield readme.name, readme


def _without_code(markdown: str) -> str:
    return _COMMENT.sub("", _FENCE.sub("\n", markdown))


def _sections(markdown: str) -> Iterator[tuple[str, list[str]]]:
    headings: list[str] = []
    paragraphs: list[str] = []
    for block in re.split(r"\n\s*\n", markdown.replace("\r\n", "\n")):
        lines: list[str] = []
        for line in block.splitlines():
            heading = _HEADING.fullmatch(line.strip())
            if heading is None:
                lines.append(line)
                continue
            paragraphs.extend(_paragraph(lines))
            yield " > ".join(headings), paragraphs
            lines, paragraphs = [], []
            headings = [*headings[: len(heading[1]) - 1], plain(heading[2])]
        paragraphs.extend(_paragraph(lines))
    yield " > ".join(headings), paragraphs


def _paragraph(lines: Iterable[str]) -> list[str]:
    kept = (line for line in lines if not line.lstrip().startswith(("|", "Test:", "Tests:")))
    words = plain(" ".join(_BULLET.sub("", line) for line in kept)).split()
    return [" ".join(words)] if words else []


def plain(markdown: str) -> str:
    """The text without Markdown's marks: links, code, emphasis. An answer is plain text."""
    text = _LINK.sub(r"\1", markdown)
    for mark in (_CODE, _BOLD, _EMPHASIS):
        text = mark.sub(r"\1", text)
    return text


def _pieces(paragraphs: list[str]) -> Iterator[str]:
    piece: list[str] = []
    for paragraph in paragraphs:
        if piece and sum(map(len, piece)) + len(paragraph) > PASSAGE_MAX_CHARS:
            yield "\n".join(piece)
            piece = []
        piece.append(paragraph)
    if piece:
        yield "\n".join(piece)


_FENCE = re.compile(r"^ *(```|~~~).*?^ *\1[^\n]*$", re.MULTILINE | re.DOTALL)
_BULLET = re.compile(r"^\s*(?:>\s*)*(?:[-*+]|[0-9]+\.)\s+")
"""The mark of a list or a quotation, before the first word of its line."""
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)\s]*\)")
_CODE = re.compile(r"`+([^`]+)`+")
_BOLD = re.compile(r"\*\*([^*]+)\*\*")
_EMPHASIS = re.compile(r"(?<![\w*])\*([^*\s](?:[^*]*[^*\s])?)\*(?![\w*])")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*")
