"""Input and output of a method of a reference service: JSON in, JSON and usage out."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
from msgspec import Struct

from schemas.errors import OrchestratorError
from schemas.records import SubStep, Usage

S = TypeVar("S", bound=Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A successful call."""

    output: str
    """A JSON document."""
    usage: Usage | None = None
    substeps: list[SubStep] = field(default_factory=list)
    chunks: tuple[str, ...] = ()
    """The pieces of the answer for a caller that asks for a stream."""


Method = Callable[[str], Answer]
"""Takes the input as JSON text, returns the answer. Raises BadInputError for a wrong input."""

LongMethod = Callable[[str, threading.Event], Answer]
"""A method that takes long: it runs in a thread. The event is set when the caller no longer
waits; the method then soon raises :class:`GivenUpError`."""


class BadInputError(OrchestratorError):
    """The input is wrong, and will be wrong again. Becomes INVALID_ARGUMENT with the code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NotInstalledError(OrchestratorError):
    """This Python lacks a package that the method needs. Becomes FAILED_PRECONDITION.

    A repeated call fails as well, until the service runs with the package.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class GivenUpError(OrchestratorError):
    """The caller has disconnected, so this error is not reported."""

    code = "GIVEN_UP"


def check_wanted(stop: threading.Event) -> None:
    """Go on only if the caller still waits.

    Raises:
        GivenUpError: the caller has disconnected.
    """
    if stop.is_set():
        raise GivenUpError


def load(text: str, shape: type[S]) -> S:
    """Read the input of a method.

    Raises:
        BadInputError: ``INPUT_INVALID``; the message names the field, never its value.
    """
    try:
        return msgspec.json.decode(text, type=shape)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise BadInputError("INPUT_INVALID", str(error)) from error


def dump(output: Struct) -> str:
    """Write the output of a method as JSON text."""
    return msgspec.json.encode(output).decode()
