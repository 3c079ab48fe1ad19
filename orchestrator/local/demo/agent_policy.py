"""Chooses the agent's next action: a deterministic policy in place of a language model.

It splits a question into parts, works on one part at a time with the tool that fits, and
answers after the last part. Pure.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.local.demo.retrieval import Document

CALCULATOR = "calculator"
RETRIEVE = "retrieve"
ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Action:
    """A tool and its argument; ``answer`` ends the loop and has no argument."""

    tool: str
    argument: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """The result of an action."""

    action: Action
    said: str = ""
    """A sentence for the answer; empty if the answer comes from the documents."""
    documents: list[Document] = field(default_factory=list)


def parts_of(question: str) -> list[str]:
    """The questions inside of a question, in order, each once."""
    parts = (part.strip(" ,.;?!") for part in _BETWEEN.split(question))
    return list(dict.fromkeys(part for part in parts if part))


def decide(question: str, notes: Sequence[Note]) -> Action:
    """The next action, from the question and the notes so far."""
    parts = parts_of(question)
    if len(notes) >= len(parts):
        return Action(ANSWER)
    part = parts[len(notes)]
    expression = expression_in(part)
    return Action(RETRIEVE, part) if expression is None else Action(CALCULATOR, expression)


def expression_in(text: str) -> str | None:
    """The longest arithmetic expression in a text; None without an expression."""
    found = [match[0].strip() for match in _EXPRESSION.finditer(text)]
    found = [expression for expression in found if _OPERATOR.search(expression)]
    if not found:
        return None
    longest = max(found, key=len)
    return longest.replace("×", "*").replace("÷", "/").replace("^", "**")  # noqa: RUF001


# A point inside of a number does not end an expression.
_BETWEEN = re.compile(
    r"[?!;\n]+|[.](?=\s|$)|,?\s+and\s+(?=(?:what|how|why|who|when|where|which|calculate)\b)|"
    r"(?:,|\band)?\s+then\s+",
    re.IGNORECASE,
)
_EXPRESSION = re.compile(r"[-+(]*\d[\d.\s()+\-*/%^×÷]*")  # noqa: RUF001
_OPERATOR = re.compile(r"[\d)]\s*[+\-*/%^×÷]+\s*[-+(]*\d")  # noqa: RUF001
