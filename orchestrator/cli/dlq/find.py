"""Finds the letter that an operator names."""

from streams.letters.errors import LetterUnknownError
from tasks.letters.known import KnownLetter, KnownLetters


def one(all_letters: KnownLetters, letter_id: str) -> KnownLetter:
    """The only letter whose id begins with ``letter_id``.

    Raises:
        LetterUnknownError: no letter has such an id, or several have.
    """
    found = all_letters.find(letter_id)
    if len(found) != 1:
        raise LetterUnknownError(f"{len(found)} dead letters have an id that begins {letter_id!r}")
    return found[0]
