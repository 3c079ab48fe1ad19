"""Resolves the names of topics that people type to letters. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.topics import DLQ_PREFIX


def topic_names(given: Iterable[str], prefix: str) -> tuple[str, ...]:
    """Origin topics, by names that may lack this system's prefix and the version.

    Args:
        given: such as ``task-created``, or a whole name, or the name of the dead-letter topic.
        prefix: of this system's topics.

    Returns:
        Every whole name that may be meant.
    """
    short = [name.removeprefix(DLQ_PREFIX) for name in given]
    return tuple(name for s in short for name in (s, f"{prefix}{s}", f"{prefix}{s}.v1"))
