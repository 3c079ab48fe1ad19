"""Options that several ``dlq`` commands share, and their combined meaning."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from orchestrator.cli.arguments import millis
from orchestrator.cli.output import Output
from tasks.letters.filter import LetterFilter
from tasks.letters.ledger import LetterStatus
from tasks.letters.topic_names import topic_names

_ID_MIN_CHARS = 8

Ids = Annotated[
    list[str] | None, typer.Argument(help="Ids, or beginnings of at least 8 characters.")
]
LetterId = Annotated[str, typer.Argument(metavar="ID", help="An id, or the beginning of one.")]
TopicOption = Annotated[
    list[str] | None,
    typer.Option(
        "--topic", help="Only this topic, where it failed; prefix and version may be left out."
    ),
]
TaskOption = Annotated[list[str] | None, typer.Option("--task", help="Only this task, by its id.")]
TenantOption = Annotated[list[str] | None, typer.Option("--tenant", help="Only this tenant.")]
TypeOption = Annotated[list[str] | None, typer.Option("--type", help="Only this task type.")]
StepOption = Annotated[list[str] | None, typer.Option("--step", help="Only this step.")]
ServiceOption = Annotated[list[str] | None, typer.Option("--service", help="Only this service.")]
StageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--stage", help="Only this stage: decode, validate, route, execute, publish or sink."
    ),
]
ClassOption = Annotated[
    list[str] | None,
    typer.Option("--class", help="Only this class of failure, such as POISON or REJECTED."),
]
CodeOption = Annotated[
    list[str] | None, typer.Option("--code", help="Only this code; docs/errors.md lists them.")
]
ExceptionOption = Annotated[
    list[str] | None, typer.Option("--exception", help="Only this type of exception.")
]
StatusOption = Annotated[
    list[str] | None,
    typer.Option(
        "--status", help="Only this status: open, replaying, resolved, parked or discarded."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", hidden=True, help="The same as -o json.")]


def form(output: Output, as_json: bool) -> Output:
    """The requested form; ``--json`` is the older name of ``-o json``."""
    return Output.JSON if as_json else output


def a_filter(
    prefix: str,
    *,
    ids: list[str] | None = None,
    topic: list[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    **others: list[str] | None,
) -> LetterFilter:
    """The filter of a command.

    Args:
        prefix: the prefix of this system's topics.
        ids: whole ids, or their beginnings.
        topic: names, with or without prefix and version.
        since: letters that failed then or later.
        until: letters that failed before.
        others: the remaining fields of :class:`LetterFilter`.

    Raises:
        typer.BadParameter: the beginning of an id is too short to be safe, or a status does not
            exist.
    """
    short = [given for given in ids or () if len(given) < _ID_MIN_CHARS]
    if short:
        raise typer.BadParameter(f"id {short[0]!r} is too short; at least 8 characters")
    unknown = sorted(set(others.get("status") or ()) - set(LetterStatus))
    if unknown:
        raise typer.BadParameter(
            f"--status {unknown[0]}: it must be one of {', '.join(LetterStatus)}"
        )
    lists: dict[str, Any] = {name: tuple(values or ()) for name, values in others.items()}
    return LetterFilter(
        ids=tuple(ids or ()),
        topic=topic_names(topic or (), prefix),
        since_ms=None if since is None else millis(since),
        until_ms=None if until is None else millis(until),
        **lists,
    )
