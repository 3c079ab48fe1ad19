"""``orchestrator dlq edit`` and ``discard``: mend a letter, or give it up."""

from __future__ import annotations

import asyncio
import difflib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.dlq.find import one
from orchestrator.cli.dlq.options import (
    ActorOption,
    ClassOption,
    CodeOption,
    ExecuteOption,
    Ids,
    ReasonOption,
    SinceOption,
    TaskOption,
    TenantOption,
    TopicOption,
    UntilOption,
    a_filter,
    actor_of,
    check_order,
)
from orchestrator.cli.running import kafka_settings
from orchestrator.letters.connections import open_connections
from orchestrator.letters.discarding import can_be_discarded, discarded
from orchestrator.letters.editing import an_edit
from schemas.errors import SettingsError
from tasks.letters.editing import EditRefusedError, an_object, with_changes
from tasks.letters.filter import LetterFilter


def edit(
    letter_id: Annotated[str, typer.Argument(help="An id, or its beginning.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="path=value, e.g. type=rag or input.query=why?; several."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--json", help="The whole value, as JSON; - for stdin.")
    ] = None,
    execute: ExecuteOption = False,
    reason: ReasonOption = "",
    actor: ActorOption = None,
) -> None:
    """Change the value that a replay will send; the letter keeps the original.

    Without --set and --json, $EDITOR opens the value. What does not fit the schema is refused.
    A dry run shows the difference.
    """
    check_order(execute=execute, reason=reason)
    asyncio.run(_edit(letter_id, changes or [], file, execute, reason, actor_of(actor)))


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
) -> None:
    """Give dead letters up. They stay in their topic until it expires."""
    check_order(execute=execute, reason=reason)
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
        raise SettingsError("nothing chooses the letters: give ids or filters")
    asyncio.run(_discard(chosen, execute, reason, actor_of(actor)))


async def _edit(
    letter_id: str, changes: list[str], file: Path | None, execute: bool, reason: str, actor: str
) -> None:
    settings = kafka_settings()
    async with open_connections(settings) as connections:
        made = an_edit(
            one(await connections.all_letters(), letter_id),
            lambda fields: _wanted(fields, changes, file),
            connections.topics,
            max_bytes=settings.limits.record_max_bytes,
        )
        before, after = _lines(made.fields), _lines(made.wanted)
        for line in difflib.unified_diff(before, after, "before", "after", n=0):
            print(line)
        print(f"sha256 before {made.sha256_before}")
        print(f"sha256 after  {made.sha256_after}")
        if not execute:
            print("a dry run: nothing was changed; add --execute --reason TEXT")
            return
        await connections.publisher()
        await connections.log.append([made.action(actor=actor, reason=reason)])
        print(f"edited; orchestrator dlq replay {made.letter_id} sends it")


def _wanted(fields: dict[str, Any], changes: list[str], file: Path | None) -> dict[str, Any]:
    if file is not None:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
        fields = an_object(text)
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


async def _discard(chosen: LetterFilter, execute: bool, reason: str, actor: str) -> None:
    async with open_connections(kafka_settings()) as connections:
        all_letters = await connections.all_letters(values=False)
        chosen_letters = [
            c for c in all_letters.ordered() if can_be_discarded(c) and chosen.matches(c)
        ]
        if not execute:
            print(
                f"a dry run: {len(chosen_letters)} would be discarded; add --execute --reason TEXT"
            )
            return
        await connections.publisher()
        await connections.log.append(discarded(chosen_letters, chosen, actor=actor, reason=reason))
        print(f"{len(chosen_letters)} discarded")


def _lines(fields: dict[str, Any]) -> list[str]:
    return json.dumps(fields, ensure_ascii=False, indent=2).splitlines()
