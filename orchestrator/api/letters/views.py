"""The answers about dead letters, in one form for HTTP and gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Raw

from orchestrator.api.tasks.views.event import EventView
from orchestrator.api.tasks.views.view import View
from schemas.dead_letter_record import DeadLetter
from schemas.records import DeadLetterAction
from schemas.topics import Topics
from tasks.letters.contents import Decoded, Foreign, Undecodable, contents_of, text_of
from tasks.letters.histogram import Bar
from tasks.letters.known import KnownLetter


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
    """For operators only."""


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


def letter_view(known: KnownLetter) -> LetterView:
    """A letter as lists show it."""
    letter, state = known.letter, known.state
    return LetterView(
        id=letter.id,
        status=known.status.value,
        status_reason=state.reason,
        status_by=state.actor,
        replays=state.replays,
        dead_lettered_at=_time(letter.dead_lettered_at),
        original_at=_time(letter.original_at),
        topic=letter.topic,
        partition=letter.partition,
        offset=letter.offset,
        dlq_partition=letter.dlq_partition,
        dlq_offset=letter.dlq_offset,
        group=letter.group,
        stage=letter.stage,
        failure_class=letter.failure_class,
        code=letter.code,
        message=letter.message,
        exception=letter.exception,
        delivery_count=letter.delivery_count,
        task_id=letter.task_id,
        tenant_id=letter.tenant_id,
        type=letter.task_type,
        step=letter.step,
        service=letter.service,
        run=letter.run,
        traceparent=letter.traceparent,
        replay_of=letter.replay_of,
        edited_sha256=state.sha256,
    )


def contents_view(letter: DeadLetter | None, topics: Topics, *, stacktrace: bool) -> ContentsView:
    """The contents of a letter; None: its topic no longer holds it.

    Args:
        letter: with its value.
        topics: of this system.
        stacktrace: shows also where in our code it happened.
    """
    if letter is None:
        return ContentsView(available=False, headers=[])
    headers = [HeaderView(name=name, value=text_of(value)) for name, value in letter.headers]
    value, value_hex, undecodable = None, None, None
    match contents_of(letter, topics):
        case Decoded(fields):
            value = None if fields is None else Raw(msgspec.json.encode(fields))
        case Foreign(given):
            value_hex = given.hex()
        case Undecodable() as broken:
            undecodable = UndecodableView(
                reason=broken.reason,
                size_bytes=broken.size_bytes,
                breaks_at_byte=broken.breaks_at_byte,
                hex_before=broken.before.hex(),
                hex_from_there=broken.from_there.hex(),
            )
    return ContentsView(
        available=True,
        key=text_of(letter.key),
        headers=headers,
        value=value,
        value_hex=value_hex,
        undecodable=undecodable,
        stacktrace=letter.stacktrace if stacktrace else None,
    )


def action_view(action: DeadLetterAction) -> LetterActionView:
    """An action, reduced to one letter."""
    item = action.items[0]
    return LetterActionView(
        at=_time(action.at),
        kind=action.kind.value,
        actor=action.actor,
        reason=item.reason or action.reason,
        replay_id=action.replay_id,
        count=item.count,
        target=f"{item.topic}[{item.partition}]@{item.offset}" if item.topic else None,
    )


def happening_view(event: EventView) -> HappeningView:
    """An event of the letter's task."""
    return HappeningView(at=event.occurred_at, event=event.kind, actor=event.actor)


def histogram_view(by: str, bars: Sequence[Bar]) -> LetterHistogram:
    """Counts by one field."""
    counts = [
        LetterCount(
            value=bar.value,
            count=bar.count,
            first_at=_time(bar.first_at),
            last_at=_time(bar.last_at),
        )
        for bar in bars
    ]
    return LetterHistogram(by=by, counts=counts)


def _time(millis: int) -> datetime:
    return datetime.fromtimestamp(millis / 1000, UTC)
