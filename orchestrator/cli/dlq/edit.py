"""``orchestrator dlq edit`` and ``discard``: repair a dead letter, or give dead letters up."""

from __future__ import annotations

import asyncio
import difflib
import json
import os
import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.arguments import check_reason, default_actor, read_text
from orchestrator.cli.dlq.find import one
from orchestrator.cli.dlq.options import (
    ClassOption,
    CodeOption,
    Ids,
    LetterId,
    TaskOption,
    TenantOption,
    TopicOption,
    a_filter,
)
from orchestrator.cli.options import (
    ActorOption,
    ExecuteOption,
    ReasonOption,
    SinceOption,
    UntilOption,
)
from orchestrator.cli.output import Output, OutputOption, json_text, print_json, print_line
from orchestrator.cli.running import kafka_settings
from orchestrator.letters.connections import open_connections
from streams.letters.action_log import author
from tasks.letters.author import Author
from tasks.letters.discard import can_be_discarded, discarded
from tasks.letters.edit import Edit, an_edit
from tasks.letters.edited_value import EditRefusedError, an_object, with_changes
from tasks.letters.filter import LetterFilter


def edit(
    letter_id: LetterId,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A change as path=value, such as input.query=why; may be given several times.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--json", help="A file with the whole value as JSON; - is standard input."),
    ] = None,
    execute: ExecuteOption = False,
    reason: ReasonOption = "",
    actor: ActorOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change the value that a replay will send; the letter keeps the original.

    Without --set and --json, $EDITOR opens the value. A value that does not fit the schema is
    refused.
    A dry run shows the difference.

    `-o json` prints one object: id, before and after (the values), sha256_before, sha256_after
    and done (false for a dry run).
    """
    check_reason(execute=execute, reason=reason)
    edited = _edit(letter_id, changes or [], file, _Order(execute, reason, actor, output))
    asyncio.run(edited)


def discard(
    ids: Ids = None,
    topic: TopicOption = None,
    task: TaskOption = None,
    tenant: TenantOption = None,
    failure_class: ClassOption = None,
    code: CodeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    execute: ExecuteOption = False,
    reason: ReasonOption = "",
    actor: ActorOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give dead letters up. They stay in their topic until it expires.

    `-o json` prints one object: letters (how many) and done (false for a dry run).
    """
    check_reason(execute=execute, reason=reason)
    chosen = a_filter(
        kafka_settings().topics.prefix,
        ids=ids,
        topic=topic,
        task=task,
        tenant=tenant,
        failure_class=failure_class,
        code=code,
        since=since,
        until=until,
    )
    if chosen == LetterFilter():
        raise typer.BadParameter("nothing chooses the letters: give ids or filters")
    asyncio.run(_discard(chosen, _Order(execute, reason, actor, output)))


@dataclass(frozen=True, slots=True)
class _Order:
    """The options of a command."""

    execute: bool
    reason: str
    actor: str | None
    output: Output

    @property
    def author(self) -> Author:
        return author(actor=self.actor or default_actor(), reason=self.reason)


async def _edit(letter_id: str, changes: list[str], file: Path | None, order: _Order) -> None:
    settings = kafka_settings()
    async with open_connections(settings) as connections:
        made = an_edit(
            one(await connections.all_letters(), letter_id),
            lambda fields: _wanted(fields, changes, file),
            connections.topics,
            max_bytes=settings.limits.record_max_bytes,
        )
        if order.output is not Output.JSON:
            _show(made)
        if order.execute:
            await connections.publisher()
            await connections.log.append([made.action(order.author)])
    if order.output is Output.JSON:
        print_json(_document(made, done=order.execute))
    elif order.execute:
        print_line(f"edited; orchestrator dlq replay {made.letter_id} sends it")
    else:
        print_line("a dry run: nothing was changed; add --execute --reason TEXT")


def _show(made: Edit) -> None:
    before, after = _lines(made.fields), _lines(made.wanted)
    for line in difflib.unified_diff(before, after, "before", "after", n=0, lineterm=""):
        print_line(line)
    print_line(f"sha256 before {made.sha256_before}")
    print_line(f"sha256 after  {made.sha256_after}")


def _document(made: Edit, *, done: bool) -> dict[str, object]:
    return {
        "id": made.letter_id,
        "before": made.fields,
        "after": made.wanted,
        "sha256_before": made.sha256_before,
        "sha256_after": made.sha256_after,
        "done": done,
    }


def _wanted(fields: dict[str, Any], changes: list[str], file: Path | None) -> dict[str, Any]:
    if file is not None:
        fields = an_object(read_text(file))
    elif not changes:
        fields = an_object(_in_editor(json.dumps(fields, ensure_ascii=False, indent=2)))
    return with_changes(fields, changes)


def _in_editor(text: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "value.json"
        file.write_text(text + "\n", "utf-8")
        editor = shlex.split(os.environ.get("EDITOR", "vi"))
        if subprocess.run([*editor, str(file)], check=False).returncode:
            raise EditRefusedError(f"{editor[0]} did not end well; nothing was changed")
        return file.read_text("utf-8")


async def _discard(chosen: LetterFilter, order: _Order) -> None:
    async with open_connections(kafka_settings()) as connections:
        all_letters = await connections.all_letters(values=False)
        found = [c for c in all_letters.ordered() if can_be_discarded(c) and chosen.matches(c)]
        if order.execute:
            await connections.publisher()
            await connections.log.append(discarded(found, chosen, order.author))
    if order.output is Output.JSON:
        print_json({"letters": len(found), "done": order.execute})
    elif order.execute:
        print_line(f"{len(found)} discarded")
    else:
        print_line(f"a dry run: {len(found)} would be discarded; add --execute --reason TEXT")


def _lines(fields: dict[str, Any]) -> list[str]:
    return json_text(fields, indent=2).split("\n")
