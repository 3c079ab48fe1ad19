"""The input of a step that calls a model: a prompt with places for values. Pure."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from agents.services.models.tools.declaration import ToolDeclaration
from tasks.pipeline_file import ITERATIONS_MAX

T = TypeVar("T", bound=Struct)

_PLACE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


class PromptMessage(Struct, frozen=True, forbid_unknown_fields=True):
    """One message of a conversation. ``{{name}}`` in its text stands for a value."""

    role: str
    content: str


class ChatInput(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The input of ``Chat``, as a pipeline builds it."""

    messages: list[PromptMessage]
    history: list[PromptMessage] = []
    """Earlier messages, which come before the last one; taken as they are."""
    values: dict[str, Any] = {}
    """For the places in the messages. A text is put in as it is, anything else as JSON."""
    schema: dict[str, Any] | None = None
    """JSON Schema that the answer must satisfy; the answer is JSON then."""
    temperature: float | None = None
    max_tokens: int | None = None
    tools: list[ToolDeclaration] = []
    """What the model may call; put here by the step's ``tools`` in its pipeline file."""
    max_iterations: int = 1
    """How often the model is asked at most, with tools."""


class EmbedInput(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The input of ``Embed``."""

    texts: list[str]


class PromptError(Exception):
    """The input does not fit; the message is for the caller and quotes no value."""


def read_chat(document: str) -> ChatInput:
    """Read the input of ``Chat``; raises PromptError."""
    given = _read(document, ChatInput)
    if not given.messages:
        raise PromptError("messages is empty")
    if not 1 <= given.max_iterations <= ITERATIONS_MAX:
        raise PromptError(f"max_iterations must be 1 to {ITERATIONS_MAX}")
    return given


def read_embed(document: str) -> EmbedInput:
    """Read the input of ``Embed``; raises PromptError."""
    given = _read(document, EmbedInput)
    if not given.texts:
        raise PromptError("texts is empty")
    return given


def rendered(given: ChatInput) -> list[dict[str, str]]:
    """The messages with their values, as they are sent.

    A value is put in once: places in it are text. ``history`` has no places, for it is foreign.

    Raises:
        PromptError: a place has no value.
    """
    own = [{"role": m.role, "content": _filled(m.content, given.values)} for m in given.messages]
    earlier = [{"role": m.role, "content": m.content} for m in given.history]
    return [*own[:-1], *earlier, own[-1]]


def _filled(text: str, values: dict[str, Any]) -> str:
    def value_of(place: re.Match[str]) -> str:
        name = place[1]
        if name not in values:
            raise PromptError(f"the prompt has a place for {name}, and values has no such name")
        value = values[name]
        return value if isinstance(value, str) else msgspec.json.encode(value).decode()

    return _PLACE.sub(value_of, text)


def _read(document: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(document.encode(), type=kind)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise PromptError(f"the input is not that of a model: {str(error)[:200]}") from None
