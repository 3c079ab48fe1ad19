"""Messages during long work: one sentence for people, without a full stop."""

from collections.abc import Callable

Progress = Callable[[str], None]
"""Called in any thread, from the process that starts a server."""


def say_nothing(_sentence: str) -> None:
    """For callers that need no messages."""
