"""The files of the project, and the words of its code: what a name in a page can resolve to."""

import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGES = ("schemas", "tasks", "streams", "sinks", "agents", "orchestrator")
CLIENTS = "clients"
"""Distributions of their own: they import no package of ours."""
FOLDERS = (*PACKAGES, CLIENTS, "tests", "benchmarks", "examples", "deploy")
OTHER_SOURCES = ("*.proto", "*.avsc", "*.sql", "*.yaml", "*.toml", "*.sh", "*.patch", "*.json")

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@cache
def all_files() -> tuple[Path, ...]:
    roots = [Path(folder) for folder in (*FOLDERS, "docs", "requirements")]
    kept = [file for root in roots for file in root.rglob("*") if file.is_file()]
    return (*kept, *(file for file in Path().glob("*") if file.is_file()))


@cache
def python_files() -> tuple[Path, ...]:
    return tuple(file for file in all_files() if file.suffix == ".py")


@cache
def all_text() -> str:
    """All sources but docs and test cases, as one text."""
    return "\n".join(file.read_text("utf-8") for file in sources())


@cache
def sources() -> tuple[Path, ...]:
    wanted = ("*.py", *OTHER_SOURCES)
    found = (file for file in all_files() if any(file.match(pattern) for pattern in wanted))
    kept = (f for f in found if f.parts[0] != "docs" and not f.name.startswith("test_"))
    return (*kept, Path("Makefile"))


@cache
def all_tests() -> str:
    return "\n".join(file.read_text("utf-8") for file in Path("tests").rglob("test_*.py"))


@cache
def all_words() -> frozenset[str]:
    """Every word of the code: names, and words of strings, without comments and docstrings."""
    words = {word for token in _tokens() for word in _WORD.findall(token.string)}
    others = (file for file in sources() if file.suffix != ".py")
    words.update(word for file in others for word in _WORD.findall(file.read_text("utf-8")))
    return frozenset(words)


@cache
def all_strings() -> str:
    """Every string of the Python code, docstrings left out."""
    return "\n".join(token.string for token in _tokens() if token.type in _STRINGS)


@cache
def _tokens() -> tuple[tokenize.TokenInfo, ...]:
    texts = (file.read_text("utf-8") for file in sources() if file.suffix == ".py")
    kept = (tokenize.NAME, *_STRINGS)
    return tuple(token for text in texts for token in _code(text) if token.type in kept)


def _code(text: str) -> Iterator[tokenize.TokenInfo]:
    """The tokens of a Python file without comments and docstrings."""
    before = tokenize.INDENT
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        is_docstring = token.type == tokenize.STRING and before in _BEFORE_A_DOCSTRING
        if token.type != tokenize.COMMENT and not is_docstring:
            yield token
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            before = token.type


_STRINGS = (tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))
"""An f-string is a string to Python 3.11, and has parts from 3.12 on."""


_BEFORE_A_DOCSTRING = (tokenize.INDENT, tokenize.NEWLINE, tokenize.ENCODING, tokenize.DEDENT)
