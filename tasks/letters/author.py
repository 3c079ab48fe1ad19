"""Who does something with dead letters. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from schemas.records import Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who acts and why, and where the ids and times of the actions come from."""

    actor: str
    reason: str
    new_id: Callable[[], str]
    clock: Callable[[], Millis]
