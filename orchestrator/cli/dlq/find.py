"""Finds the one letter that an operator means."""

from streams.letters.errors import LetterUnknownError
from tasks.letters.bench import Bench, Case


def one(bench: Bench, letter_id: str) -> Case:
    """The one letter whose id begins so.

    Raises:
        LetterUnknownError: there is none, or there are several.
    """
    found = bench.find(letter_id)
    if len(found) != 1:
        raise LetterUnknownError(f"{len(found)} dead letters have an id that begins {letter_id!r}")
    return found[0]
