"""The actor of actions on dead letters. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from schemas.records import Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """The actor and the reason, and the sources of the ids and times of the actions."""

    actor: str
    reason: str
    new_id: Callable[[], str]
    clock: Callable[[], Millis]
