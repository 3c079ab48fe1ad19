"""The answers about dead letters, in one form for HTTP and gRPC."""

from datetime import datetime

from msgspec import Raw

from orchestrator.api.tasks.views import View


class LetterView(View, frozen=True, kw_only=True):
    """A dead letter as lists show it."""

    id: str
    status: str
    status_reason: str
    status_by: str
    replays: int
    """How often the record was replayed."""
    dead_lettered_at: datetime
    original_at: datetime
    topic: str
    """The topic in which the record failed."""
    partition: int
    offset: int
    dlq_partition: int
    dlq_offset: int
    group: str
    stage: str
    failure_class: str
    code: str
    message: str
    exception: str
    delivery_count: int
    task_id: str | None = None
    tenant_id: str | None = None
    type: str | None = None
    step: str | None = None
    service: str | None = None
    run: int | None = None
    traceparent: str | None = None
    replay_of: str | None = None
    edited_sha256: str | None = None


class LetterPage(View, frozen=True, kw_only=True):
    """A page of letters; ``next_page_token`` is None after the last one."""

    dead_letters: list[LetterView]
    next_page_token: str | None = None


class HeaderView(View, frozen=True, kw_only=True):
    """An original header; bytes that are not UTF-8 are escaped."""

    name: str
    value: str | None = None


class UndecodableView(View, frozen=True, kw_only=True):
    """Why a value cannot be decoded, and the bytes around the fault."""

    reason: str
    size_bytes: int
    breaks_at_byte: int
    hex_before: str
    hex_from_there: str


class ContentsView(View, frozen=True, kw_only=True):
    """The contents of a letter; ``available`` is False if its topic no longer holds it."""

    available: bool
    key: str | None = None
    headers: list[HeaderView]
    value: Raw | None = None
    """The decoded record."""
    value_hex: str | None = None
    """The value of a topic that is not ours."""
    undecodable: UndecodableView | None = None
    stacktrace: str | None = None
    """For operators only: while no keys are configured."""


class LetterActionView(View, frozen=True, kw_only=True):
    """An action on a letter."""

    at: datetime
    kind: str
    actor: str
    reason: str
    replay_id: str | None = None
    count: int = 0
    target: str | None = None


class HappeningView(View, frozen=True, kw_only=True):
    """An event of the letter's task."""

    at: datetime
    event: str
    actor: str | None = None


class LetterDetail(View, frozen=True, kw_only=True):
    """A letter with its contents."""

    dead_letter: LetterView
    contents: ContentsView
    history: list[LetterActionView]
    related: list[LetterView]
    """Earlier and later letters of the same record, and the other letters of its task."""
    task_timeline: list[HappeningView]


class LetterCount(View, frozen=True, kw_only=True):
    """A line of a histogram."""

    value: str
    count: int
    first_at: datetime
    last_at: datetime


class LetterHistogram(View, frozen=True, kw_only=True):
    """Counts by one field: the largest first, hours in the order of time."""

    by: str
    counts: list[LetterCount]


class LetterStats(View, frozen=True, kw_only=True):
    """Counts by several fields."""

    histograms: list[LetterHistogram]


class ReplayAnswer(View, frozen=True, kw_only=True):
    """The results of a replay or a dry run; with a token, more letters follow."""

    replay_id: str
    outcome: str
    counts: dict[str, int]
    next_page_token: str | None = None


class EditAnswer(View, frozen=True, kw_only=True):
    """An edited letter, and what a replay will send."""

    dead_letter: LetterView
    value: Raw
    sha256_before: str
    sha256_after: str
