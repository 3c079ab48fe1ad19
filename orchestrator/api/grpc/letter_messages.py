"""Requests and answers about dead letters as the messages of ``orchestrator.v1``, and back."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from orchestrator.api.errors import invalid
from orchestrator.api.grpc.messages import checked, optional, stamp, time_of
from orchestrator.api.letters.requests import (
    LISTS,
    REPLAY_MAX,
    CountLetters,
    DiscardLetter,
    EditLetter,
    ListLetters,
    ReplayLetters,
)
from orchestrator.api.letters.views import (
    ContentsView,
    EditAnswer,
    HappeningView,
    LetterActionView,
    LetterCount,
    LetterDetail,
    LetterPage,
    LetterStats,
    LetterView,
    ReplayAnswer,
)
from orchestrator.api.tasks.requests import PAGE_DEFAULT
from schemas.gen.orchestrator.v1 import dead_letters_pb2 as pb

# --- requests ---


def list_request(message: pb.ListDeadLettersRequest) -> ListLetters:
    """The filter of a list; raises ``ApiError`` for a wrong field, as all of these do."""
    page = {
        "page_size": optional(message, "page_size", PAGE_DEFAULT),
        "page_token": message.page_token,
    }
    return checked(ListLetters, _choice(message.filter) | _status(message.filter) | page)


def count_request(message: pb.GetDeadLetterStatsRequest) -> CountLetters:
    """The filter and the fields of a count."""
    by = {"by": tuple(message.by)}
    return checked(CountLetters, _choice(message.filter) | _status(message.filter) | by)


def replay_request(message: pb.ReplayDeadLettersRequest) -> ReplayLetters:
    """The letters to send back."""
    if message.filter.status:
        raise invalid("filter.status", "open letters are replayed; force takes the ids of others")
    fields = {
        "ids": tuple(message.ids),
        "all": message.all,
        "dry_run": optional(message, "dry_run", True),
        "reason": message.reason,
        "force": message.force,
        "page_size": optional(message, "page_size", REPLAY_MAX),
        "page_token": message.page_token,
    }
    return checked(ReplayLetters, _choice(message.filter) | fields)


def edit_request(message: pb.EditDeadLetterRequest) -> EditLetter:
    """The changes to a value."""
    fields = {"changes": tuple(message.changes), "reason": message.reason}
    if not message.HasField("value"):
        return checked(EditLetter, fields)
    return checked(EditLetter, fields, value=Raw(message.value.encode()))


def discard_request(message: pb.DiscardDeadLetterRequest) -> DiscardLetter:
    """The reason why a letter is given up."""
    return checked(DiscardLetter, {"reason": message.reason})


def _choice(message: pb.DeadLetterFilter) -> dict[str, Any]:
    lists: dict[str, Any] = {name: tuple(getattr(message, name)) for name in LISTS}
    return lists | {"since": time_of(message, "since"), "until": time_of(message, "until")}


def _status(message: pb.DeadLetterFilter) -> dict[str, Any]:
    return {"status": tuple(message.status)}


# --- answers ---


def list_response(page: LetterPage) -> pb.ListDeadLettersResponse:
    """A page of letters."""
    return pb.ListDeadLettersResponse(
        dead_letters=map(letter_message, page.dead_letters),
        next_page_token=page.next_page_token or "",
    )


def detail_response(detail: LetterDetail) -> pb.GetDeadLetterResponse:
    """A letter with its contents."""
    return pb.GetDeadLetterResponse(
        dead_letter=letter_message(detail.dead_letter),
        contents=_contents(detail.contents),
        history=map(_action, detail.history),
        related=map(letter_message, detail.related),
        task_timeline=map(_happening, detail.task_timeline),
    )


def stats_response(stats: LetterStats) -> pb.GetDeadLetterStatsResponse:
    """Counts of letters."""
    return pb.GetDeadLetterStatsResponse(
        histograms=[
            pb.DeadLetterHistogram(by=found.by, counts=map(_count, found.counts))
            for found in stats.histograms
        ]
    )


def replay_response(answer: ReplayAnswer) -> pb.ReplayDeadLettersResponse:
    """The results of a replay."""
    return pb.ReplayDeadLettersResponse(
        replay_id=answer.replay_id,
        outcome=answer.outcome,
        counts=answer.counts,
        next_page_token=answer.next_page_token or "",
    )


def edit_response(answer: EditAnswer) -> pb.EditDeadLetterResponse:
    """An edited letter."""
    return pb.EditDeadLetterResponse(
        dead_letter=letter_message(answer.dead_letter),
        value=bytes(answer.value).decode(),
        sha256_before=answer.sha256_before,
        sha256_after=answer.sha256_after,
    )


def letter_message(letter: LetterView) -> pb.DeadLetter:
    """A letter."""
    fields = msgspec.structs.asdict(letter)
    return pb.DeadLetter(
        dead_lettered_at=stamp(fields.pop("dead_lettered_at")),
        original_at=stamp(fields.pop("original_at")),
        **fields,
    )


def _contents(contents: ContentsView) -> pb.DeadLetterContents:
    broken = contents.undecodable
    return pb.DeadLetterContents(
        available=contents.available,
        key=contents.key,
        headers=[pb.DeadLetterHeader(name=h.name, value=h.value) for h in contents.headers],
        value=None if contents.value is None else bytes(contents.value).decode(),
        value_hex=contents.value_hex,
        undecodable=None if broken is None else pb.Undecodable(**msgspec.structs.asdict(broken)),
        stacktrace=contents.stacktrace,
    )


def _action(action: LetterActionView) -> pb.DeadLetterAction:
    fields = msgspec.structs.asdict(action)
    return pb.DeadLetterAction(at=stamp(fields.pop("at")), **fields)


def _happening(happening: HappeningView) -> pb.TaskHappening:
    return pb.TaskHappening(at=stamp(happening.at), event=happening.event, actor=happening.actor)


def _count(count: LetterCount) -> pb.DeadLetterCount:
    return pb.DeadLetterCount(
        value=count.value,
        count=count.count,
        first_at=stamp(count.first_at),
        last_at=stamp(count.last_at),
    )
