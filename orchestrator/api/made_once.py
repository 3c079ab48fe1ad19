"""What many readers of one object get is made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Of = TypeVar("Of")
Made = TypeVar("Made")

_KEPT = 32
"""Events may have an output of 256 KiB."""


class MadeOnce(Generic[Of, Made]):
    """A function that returns what it made for the same object a moment ago.

    All watchers of a task are woken by the same event, one after the other. Objects are told apart
    by identity, so each of them is looked up in the same time, however large it is.
    """

    def __init__(self, make: Callable[[Of], Made]) -> None:
        self._make = make
        self._kept: dict[int, tuple[Of, Made]] = {}
        """By the id of the object, which stays valid because the object is kept, too."""

    def __call__(self, of: Of) -> Made:
        """What ``make`` returns for this object. Its callers share it and must not change it."""
        if (kept := self._kept.get(id(of))) is not None:
            return kept[1]
        made = self._make(of)
        self._kept[id(of)] = of, made
        if len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
        return made
