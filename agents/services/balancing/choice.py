"""Which of several endpoints gets a call. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Choice = Callable[[Sequence[int], float, float], int]
"""Takes the calls in flight of each endpoint and two draws from [0, 1); returns an index."""


def fewer_of_two(calls: Sequence[int], first: float, second: float) -> int:
    """The one with fewer calls in flight, of two different ones at random; the first at a tie.

    Every caller knows its own calls only. Were the least of all chosen, all callers together
    would choose a new endpoint. Source: Mitzenmacher, "The Power of Two Choices in Randomized Load
    Balancing", 2001.

    Args:
        calls: in flight at each endpoint; not empty.
        first: a draw from [0, 1).
        second: another one.
    """
    one = int(first * len(calls))
    if len(calls) == 1:
        return one
    other = int(second * (len(calls) - 1))
    other += other >= one
    return other if calls[other] < calls[one] else one
