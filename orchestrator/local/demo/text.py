"""Words and sentences, as the reference services see them. Pure functions."""

import re
from functools import lru_cache


def tokens(text: str) -> int:
    """Count the tokens of the model ``extractive-1``: words, and single punctuation marks.

    A word is a run of letters and digits of any script except Chinese, Japanese kanji and
    Korean hanja, where each character is a word. White space does not count.
    """
    return sum(1 for _ in _TOKEN.finditer(text))


@lru_cache(maxsize=16_384)
def terms(text: str) -> tuple[str, ...]:
    """The words that matter for matching, in order: lower case, no stop words, no endings.

    *Retry*, *retries*, *retried* and *retrying* are one word. Chinese characters become pairs of
    neighbours, the usual way to match without a lexicon.
    """
    words = _WORD.findall(text.lower())
    latin = [_stem(word) for word in words if word not in _STOP_WORDS]
    han = [pair for run in _HAN_RUN.findall(text) for pair in _pairs(run)]
    return (*latin, *han)


@lru_cache(maxsize=4_096)
def sentences(text: str) -> tuple[str, ...]:
    """Split text into sentences, each of them an unchanged part of ``text``."""
    parts = (part.strip() for part in _SENTENCE_END.split(text))
    return tuple(part for part in parts if part)


def _stem(word: str) -> str:
    """A word without its English ending; not always a word itself, but the same for all forms."""
    if len(word) > 4 and word.endswith(("ies", "ied")):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) > 2 and _VOWEL.search(rest) and not word.endswith("eed"):
            return rest[:-1] if rest[-1] == rest[-2] and rest[-1] not in "sz" else rest
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


def _pairs(run: str) -> list[str]:
    return [run] if len(run) == 1 else [run[i : i + 2] for i in range(len(run) - 1)]


_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_TOKEN = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+|[^\w\s]|_")
_WORD = re.compile(rf"[^\W_{_HAN}]+")
_VOWEL = re.compile("[aeiouy]")
_HAN_RUN = re.compile(rf"[{_HAN}]+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*|\n+")  # noqa: RUF001  # full width
_COMMON_ENGLISH = (
    "a about an and are as at be been but by can do does ever for from had has have how i if in"
    " into is it its me my no not of on one or our so such tell than that the their them then there"
    " these they this to was we were what when where which who whom whose why will with"
    " would you your"
)
_STOP_WORDS = frozenset(_COMMON_ENGLISH.split())
