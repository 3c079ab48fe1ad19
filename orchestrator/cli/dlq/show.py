"""Shows dead letters: as tables for people, as JSON lines for programs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from orchestrator.api.tasks.sources import Timeline
from orchestrator.api.tasks.views.event import EventView
from orchestrator.cli.output import Output, print_json, print_line, print_note, print_table
from schemas.dead_letter_record import DeadLetter
from schemas.records import DeadLetterAction
from schemas.topics import Topics
from tasks.letters.contents import Decoded, Foreign, Undecodable, contents_of, text_of
from tasks.letters.histogram import histogram
from tasks.letters.known import KnownLetter


def letter_fields(known: KnownLetter) -> dict[str, Any]:
    """A letter without its value, ready for JSON."""
    letter, state = known.letter, known.state
    return {
        "id": letter.id,
        "status": known.status.value,
        "status_reason": state.reason,
        "status_by": state.actor,
        "replays": state.replays,
        "dead_lettered_at": _iso(letter.dead_lettered_at),
        "original_at": _iso(letter.original_at),
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "dlq_partition": letter.dlq_partition,
        "dlq_offset": letter.dlq_offset,
        "group": letter.group,
        "stage": letter.stage,
        "class": letter.failure_class,
        "code": letter.code,
        "message": letter.message,
        "exception": letter.exception,
        "delivery_count": letter.delivery_count,
        "task": letter.task_id,
        "tenant": letter.tenant_id,
        "type": letter.task_type,
        "step": letter.step,
        "service": letter.service,
        "run": letter.run,
        "traceparent": letter.traceparent,
        "replay_of": letter.replay_of,
    }


_COLUMNS = ("id", "since", "status", "code", "topic", "task", "step", "tenant", "replays")
_LEAST_IMPORTANT = ("replays", "tenant", "step", "task", "status", "topic", "since")


def print_list(
    known_letters: Sequence[KnownLetter], *, limit: int, output: Output, ids_only: bool = False
) -> None:
    """Print letters, the newest last, and their number on standard error."""
    shown = known_letters[-limit:] if limit else known_letters
    if ids_only:
        for known in shown:
            print_line(known.letter.id)
        return
    if output is Output.JSON:
        for known in shown:
            print_json(letter_fields(known))
        return
    rows = [_row(known) for known in shown]
    print_table(_COLUMNS, rows, output=output, drop=_LEAST_IMPORTANT)
    print_note(f"{len(shown)} of {len(known_letters)} dead letters")


def print_letter(known: KnownLetter, output: Output) -> None:
    """Print a new letter on one line."""
    if output is Output.JSON:
        print_json(letter_fields(known))
    else:
        print_line("  ".join(str(cell) for cell in _row(known)))


def print_stats(known_letters: Sequence[KnownLetter], by: Sequence[str], *, output: Output) -> None:
    """Print histograms: which failures, how often, since when, until when."""
    if output is Output.JSON:
        for field in by:
            for bar in histogram(known_letters, field):
                print_json({"by": field, **msgspec.to_builtins(bar)})
        return
    for number, field in enumerate(by):
        if number:
            print_line("")
        rows = [
            (bar.value, bar.count, _iso(bar.first_at), _iso(bar.last_at))
            for bar in histogram(known_letters, field)
        ]
        print_table((field, "letters", "first", "last"), rows, output=output)
    print_note(f"{len(known_letters)} dead letters")


def _row(known: KnownLetter) -> tuple[object, ...]:
    letter = known.letter
    return (
        letter.id,
        _iso(letter.dead_lettered_at),
        known.status.value,
        letter.code,
        letter.topic,
        letter.task_id or "-",
        letter.step or "-",
        letter.tenant_id or "-",
        known.state.replays,
    )


def letter_document(
    known: KnownLetter,
    topics: Topics,
    *,
    history: Sequence[DeadLetterAction],
    related: Sequence[KnownLetter],
    timeline: Timeline,
) -> dict[str, Any]:
    """The known facts about one letter, ready for JSON."""
    letter = known.letter
    return {
        **letter_fields(known),
        "key": text_of(letter.key),
        "headers": [[name, text_of(value)] for name, value in letter.headers],
        **value_document(letter, topics),
        "stacktrace": letter.stacktrace.splitlines(),
        "edited_sha256": known.state.sha256,
        "history": [_action(action) for action in history],
        "letters_of_this_record": [letter_fields(other) for other in related],
        "task_timeline": [happening_fields(event) for event in timeline.events],
    }


def value_document(letter: DeadLetter, topics: Topics) -> dict[str, Any]:
    """The value: decoded, or as hex with the place where decoding failed."""
    match contents_of(letter, topics):
        case Decoded(fields):
            return {"value": fields}
        case Foreign(value):
            return {"value_hex": value.hex()}
        case Undecodable() as broken:
            return {
                "undecodable": broken.reason,
                "value_bytes": broken.size_bytes,
                "breaks_at_byte": broken.breaks_at_byte,
                "value_hex_before": broken.before.hex(" "),
                "value_hex_from_there": broken.from_there.hex(" "),
            }


def happening_fields(event: EventView) -> dict[str, Any]:
    """An event of a task, ready for JSON; unknown fields are left out."""
    fields = {
        "at": event.occurred_at.isoformat(),
        "event": event.kind,
        "by": event.actor,
        "run": event.run,
        "status": event.status,
        "code": event.error.code if event.error else None,
    }
    return {name: value for name, value in fields.items() if name == "by" or value is not None}


def _action(action: DeadLetterAction) -> dict[str, Any]:
    item = action.items[0]
    return {
        "at": _iso(action.at),
        "kind": action.kind.value,
        "by": action.actor,
        "reason": item.reason or action.reason,
        "replay_id": action.replay_id,
        "count": item.count,
        "target": f"{item.topic}[{item.partition}]@{item.offset}" if item.topic else None,
    }


def _iso(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%dT%H:%M:%S}Z"
