"""Counts of dead letters: which failures, and since when. Pure."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from tasks.letters.filter import FIELDS
from tasks.letters.known import KnownLetter

BY = ("topic", "code", "step", "service", "tenant", "status", "hour")
"""The fields by which ``stats`` and a dry run count."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of a histogram. Times are Unix milliseconds."""

    value: str
    count: int
    first_at: int
    last_at: int


def histogram(known_letters: Iterable[KnownLetter], by: str) -> list[Bar]:
    """Count letters by one field, the largest count first; hours in the order of time.

    Args:
        known_letters: the letters.
        by: one of ``BY``, or any field of ``tasks.letters.filter.FIELDS``.
    """
    counts: Counter[str] = Counter()
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for known in known_letters:
        at = known.letter.dead_lettered_at
        value = _hour(at) if by == "hour" else FIELDS[by](known) or "-"
        counts[value] += 1
        first[value] = min(at, first.get(value, at))
        last[value] = max(at, last.get(value, at))
    bars = [Bar(value, count, first[value], last[value]) for value, count in counts.items()]
    return in_order(bars, by)


def in_order(bars: Iterable[Bar], by: str) -> list[Bar]:
    """The largest count first; hours in the order of time."""
    if by == "hour":
        return sorted(bars, key=lambda bar: bar.value)
    return sorted(bars, key=lambda bar: (-bar.count, bar.value))


def _hour(at: int) -> str:
    return f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H}:00Z"
