"""Options that several ``dlq`` commands share, and what they mean together."""

from __future__ import annotations

import getpass
import re
import socket
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from orchestrator.letters.choosing import topic_names
from schemas.errors import SettingsError
from tasks.letters.filter import LetterFilter

Ids = Annotated[
    list[str] | None, typer.Argument(help="Ids, or beginnings of at least 8 characters.")
]
TopicOption = Annotated[
    list[str] | None, typer.Option("--topic", help="Where it failed; prefix may be left out.")
]
TaskOption = Annotated[list[str] | None, typer.Option("--task", help="A task id.")]
TenantOption = Annotated[list[str] | None, typer.Option("--tenant")]
TypeOption = Annotated[list[str] | None, typer.Option("--type", help="A task type.")]
StepOption = Annotated[list[str] | None, typer.Option("--step")]
ServiceOption = Annotated[list[str] | None, typer.Option("--service")]
StageOption = Annotated[
    list[str] | None,
    typer.Option("--stage", help="decode, validate, route, execute, publish or sink."),
]
ClassOption = Annotated[list[str] | None, typer.Option("--class", help="E.g. POISON, REJECTED.")]
CodeOption = Annotated[list[str] | None, typer.Option("--code", help="See docs/errors.md.")]
ExceptionOption = Annotated[list[str] | None, typer.Option("--exception")]
StatusOption = Annotated[
    list[str] | None,
    typer.Option("--status", help="open, replaying, resolved, parked or discarded."),
]
SinceOption = Annotated[
    str | None, typer.Option("--since", help="90s, 30m, 2h, 7d ago, or an ISO time.")
]
UntilOption = Annotated[str | None, typer.Option("--until", help="As --since.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept for 400 days.")]
ExecuteOption = Annotated[bool, typer.Option("--execute", help="Do it. Without: a dry run.")]
ActorOption = Annotated[
    str | None, typer.Option("--actor", help="Who; by default the user of this machine.")
]


def a_filter(
    prefix: str,
    *,
    ids: list[str] | None = None,
    topic: list[str] | None = None,
    since: str | None = None,
    until: str | None = None,
    **others: list[str] | None,
) -> LetterFilter:
    """The filter of a command.

    Args:
        prefix: of this system's topics.
        ids: whole or beginnings.
        topic: names, with or without prefix and version.
        since: a time, or how long ago.
        until: the same.
        others: the remaining fields of :class:`LetterFilter`.

    Raises:
        SettingsError: a time or an id is none.
    """
    short = [given for given in ids or () if len(given) < 8]
    if short:
        raise SettingsError(f"id {short[0]!r} is too short; at least 8 characters")
    lists: dict[str, Any] = {name: tuple(values or ()) for name, values in others.items()}
    return LetterFilter(
        ids=tuple(ids or ()),
        topic=topic_names(topic or (), prefix),
        since_ms=_time(since),
        until_ms=_time(until),
        **lists,
    )


def actor_of(given: str | None) -> str:
    """Who does it, for the record."""
    return given or f"{getpass.getuser()}@{socket.gethostname()}"


def check_order(*, execute: bool, reason: str) -> None:
    """Everything that is done has a reason.

    Raises:
        SettingsError: there is none.
    """
    if execute and not reason.strip():
        raise SettingsError("--execute needs --reason TEXT")


_AGO = re.compile(r"(\d+)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def _time(given: str | None) -> int | None:
    if given is None:
        return None
    ago = _AGO.fullmatch(given)
    if ago is not None:
        return int((time.time() - int(ago[1]) * _SECONDS[ago[2]]) * 1000)
    try:
        parsed = datetime.fromisoformat(given)
    except ValueError as error:
        raise SettingsError(f"{given!r} is no time: 90s, 30m, 2h, 7d or ISO 8601") from error
    aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1000)
