"""Splits work on many dead letters, so that each action stays small. Pure."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def in_parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in their order, at most ``size`` at a time."""
    return (items[at : at + size] for at in range(0, len(items), size))
