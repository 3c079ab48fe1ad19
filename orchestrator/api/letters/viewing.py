"""Makes views of dead letters. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Raw

from orchestrator.api.letters.views import (
    ContentsView,
    HappeningView,
    HeaderView,
    LetterActionView,
    LetterCount,
    LetterHistogram,
    LetterView,
    UndecodableView,
)
from orchestrator.letters.contents import Decoded, Foreign, Undecodable, contents_of, text_of
from orchestrator.letters.timeline import Happening
from schemas.dead_letter_record import DeadLetter
from schemas.records import DeadLetterAction
from schemas.topics import Topics
from tasks.letters.histogram import Bar
from tasks.letters.known import KnownLetter


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
        stacktrace: also shows the place in our code at which it failed.
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


def happening_view(happening: Happening) -> HappeningView:
    """An event of the letter's task."""
    return HappeningView(at=happening.at, event=happening.event, actor=happening.actor)


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
