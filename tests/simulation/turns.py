"""Coroutines without an event loop: whoever waits gives its turn back to the scheduler."""

from collections.abc import Generator
from typing import Any


class Turn:
    """``await TURN``: stop here until the scheduler resumes the coroutine, or closes it."""

    def __await__(self) -> Generator[Any, None, None]:
        yield


TURN = Turn()
