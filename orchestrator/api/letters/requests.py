"""The requests about dead letters, in one form for HTTP and gRPC."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Raw, field

from orchestrator.api.tasks.requests import PAGE_DEFAULT, PageSize, Request

REPLAY_MAX = 1_000
"""Letters that one call replays: the call has to end while its caller waits."""

Name = Annotated[str, Meta(min_length=1, max_length=256, pattern="^[^\\x00]*$")]
Names = Annotated[tuple[Name, ...], Meta(max_length=100)]
Reason = Annotated[str, Meta(max_length=2_000, pattern="^[^\\x00]*$")]


class LetterChoice(Request, frozen=True, kw_only=True):
    """The filter of letters: a letter must have one value of each given field."""

    topic: Names = ()
    task_id: Names = ()
    type: Names = ()
    step: Names = ()
    service: Names = ()
    stage: Names = ()
    failure_class: Names = ()
    code: Names = ()
    exception: Names = ()
    since: datetime | None = None
    until: datetime | None = None


LISTS = frozenset(
    ("topic", "task_id", "type", "step", "service", "stage", "failure_class", "code", "exception")
)
"""The fields of a choice that hold several values."""


class ListLetters(LetterChoice, frozen=True, kw_only=True):
    """The filter of a page of letters."""

    status: Names = ()
    page_size: PageSize = PAGE_DEFAULT
    page_token: str = ""


class CountLetters(LetterChoice, frozen=True, kw_only=True):
    """The letters to be counted, and the fields to count by."""

    status: Names = ()
    by: tuple[str, ...] = ()


class ReplayLetters(LetterChoice, frozen=True, kw_only=True):
    """The letters to be sent back."""

    ids: Annotated[tuple[Name, ...], Meta(max_length=REPLAY_MAX)] = ()
    all: bool = False
    dry_run: bool = True
    reason: Reason = ""
    force: bool = False
    page_size: Annotated[int, Meta(ge=1, le=REPLAY_MAX)] = REPLAY_MAX
    page_token: str = ""


class EditLetter(Request, frozen=True, kw_only=True):
    """The changes to the value that a replay will send."""

    changes: Annotated[tuple[str, ...], Meta(max_length=100)] = ()
    """``path=value``; in order."""
    value: Raw = field(default_factory=lambda: Raw(b"null"))
    """The whole value, a JSON object, to which the changes apply; null: as it is."""
    reason: Annotated[Reason, Meta(min_length=1)]


class DiscardLetter(Request, frozen=True, kw_only=True):
    """The reason why a letter is given up."""

    reason: Annotated[Reason, Meta(min_length=1)]
