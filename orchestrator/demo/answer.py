"""What a method of a reference service takes and gives: JSON in, JSON and usage out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from msgspec import Struct

from schemas.errors import OrchestratorError
from schemas.records import Usage

S = TypeVar("S", bound=Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A successful call."""

    output: str
    """A JSON document."""
    usage: Usage | None = None


Method = Callable[[str], Answer]
"""From the input, as JSON text, to the answer. Raises BadInputError for a wrong input."""


class BadInputError(OrchestratorError):
    """The input is wrong, and will be wrong again. Becomes INVALID_ARGUMENT with the code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # varies by instance, see InvalidRecordError


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
