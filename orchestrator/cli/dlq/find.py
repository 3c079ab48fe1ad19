"""Finds the one letter that an operator means."""

from streams.letters.errors import LetterUnknownError
from tasks.letters.known import KnownLetter, KnownLetters


def one(all_letters: KnownLetters, letter_id: str) -> KnownLetter:
    """The one letter whose id begins so.

    Raises:
        LetterUnknownError: there is none, or there are several.
    """
    found = all_letters.find(letter_id)
    if len(found) != 1:
        raise LetterUnknownError(f"{len(found)} dead letters have an id that begins {letter_id!r}")
    return found[0]
