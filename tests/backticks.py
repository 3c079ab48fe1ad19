"""What stands in backticks: in Markdown pages, and in the docstrings of Python files."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path


def spans(markdown: str) -> Iterator[str]:
    """What stands in backticks in a Markdown text, fenced code left out."""
    text = re.sub(r"^ *```.*?^ *```[^\n]*$", "", markdown, flags=re.MULTILINE | re.DOTALL)
    yield from (" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text))


def docstrings(path: Path) -> Iterator[str]:
    """Every docstring of a file, those of attributes included."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        body = getattr(node, "body", None)
        for child in body if isinstance(body, list) else ():
            match child:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield text


def docstring_spans(docstring: str) -> Iterator[str]:
    """What stands in backticks in a docstring: single, double, or with a role before it."""
    for role, double, single in re.findall(r"(:\w+:)?(?:``([^`]+)``|`([^`]+)`)", docstring):
        text = " ".join((double or single).split()).removeprefix("~")
        yield text.rsplit(".", 1)[-1] if role and text[:1] == "." else text
