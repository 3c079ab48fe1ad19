"""Options that commands of several groups share, so that each has one name and one meaning."""

from datetime import datetime
from typing import Annotated

import typer

from orchestrator.cli import arguments

TIME_GRAMMAR = "how long ago (90s, 30m, 2h, 7d), a day (2026-05-01), or a time in RFC 3339"

SinceOption = Annotated[
    datetime | None,
    typer.Option(
        "--since",
        parser=arguments.time,
        metavar="TIME",
        help=f"Only from this time on: {TIME_GRAMMAR}.",
    ),
]
UntilOption = Annotated[
    datetime | None,
    typer.Option(
        "--until",
        parser=arguments.time,
        metavar="TIME",
        help="Only before this time, written as for --since.",
    ),
]
ActorOption = Annotated[
    str | None,
    typer.Option(
        "--actor",
        parser=arguments.words,
        metavar="NAME",
        help="Who does it, for the record; by default cli:USER, with the account's name.",
    ),
]
ReasonOption = Annotated[
    str,
    typer.Option("--reason", parser=arguments.words, metavar="TEXT", help="Why, for the record."),
]
ExecuteOption = Annotated[
    bool, typer.Option("--execute", help="Do it; without this option it is a dry run.")
]
