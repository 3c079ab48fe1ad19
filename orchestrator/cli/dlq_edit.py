"""``orchestrator dlq edit`` and ``discard``: mend a letter, or give it up."""

from __future__ import annotations

import asyncio
import base64
import difflib
import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.dlq_bench import Workplace, one, workplace
from orchestrator.cli.dlq_options import (
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
from schemas.errors import SettingsError
from schemas.records import DeadLetterAction, DeadLetterActionKind, DeadLetterItem
from streams.bench.action_log import new_id, now_ms
from streams.bench.doubt import chunks
from tasks.letters.bench import Case
from tasks.letters.editing import (
    EditRefusedError,
    as_value,
    fields_of,
    record_type_of,
    with_changes,
)
from tasks.letters.filter import LetterFilter
from tasks.letters.ledger import LetterStatus

_ITEMS_MAX = 500


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
    async with workplace() as place:
        case = one(await place.bench(), letter_id)
        before = case.letter.value if case.entry.edited is None else case.entry.edited
        record_type = record_type_of(case.letter, place.topics)
        fields = fields_of(case.letter, before, record_type)
        wanted = _wanted(fields, changes, file)
        after = as_value(wanted, record_type)
        for line in difflib.unified_diff(_lines(fields), _lines(wanted), "before", "after", n=0):
            print(line)
        print(f"sha256 before {_sha256(before)}")
        print(f"sha256 after  {_sha256(after)}")
        if not execute:
            print("a dry run: nothing was changed; add --execute --reason TEXT")
            return
        await place.publisher()
        edited = DeadLetterAction(
            action_id=new_id(),
            kind=DeadLetterActionKind.EDITED,
            actor=actor,
            reason=reason,
            items=[DeadLetterItem(letter_id=case.letter.id)],
            value_base64=base64.b64encode(after).decode(),
            sha256_before=_sha256(before),
            sha256_after=_sha256(after),
            at=now_ms(),
        )
        await place.log.append([edited])
        print(f"edited; orchestrator dlq replay {case.letter.id} sends it")


def _wanted(fields: dict[str, Any], changes: list[str], file: Path | None) -> dict[str, Any]:
    if file is not None:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
        fields = _object(text)
    elif not changes:
        fields = _object(_in_editor(json.dumps(fields, ensure_ascii=False, indent=2)))
    return with_changes(fields, changes)


def _in_editor(text: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "value.json"
        file.write_text(text + "\n", "utf-8")
        editor = shlex.split(os.environ.get("EDITOR", "vi"))
        if subprocess.run([*editor, str(file)], check=False).returncode:
            raise EditRefusedError(f"{editor[0]} did not end well; nothing was changed")
        return file.read_text("utf-8")


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise EditRefusedError(f"this is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise EditRefusedError("this is no JSON object")
    return value


async def _discard(chosen: LetterFilter, execute: bool, reason: str, actor: str) -> None:
    async with workplace() as place:
        cases = [case for case in (await place.bench(values=False)).cases() if _may(case, chosen)]
        if not execute:
            print(f"a dry run: {len(cases)} would be discarded; add --execute --reason TEXT")
            return
        await _append_discarded(place, cases, chosen, reason, actor)
        print(f"{len(cases)} discarded")


def _may(case: Case, chosen: LetterFilter) -> bool:
    settled = (LetterStatus.RESOLVED, LetterStatus.DISCARDED)
    return case.status not in settled and chosen.matches(case)


async def _append_discarded(
    place: Workplace, cases: list[Case], chosen: LetterFilter, reason: str, actor: str
) -> None:
    items = [DeadLetterItem(letter_id=case.letter.id) for case in cases]
    await place.publisher()
    await place.log.append(
        [
            DeadLetterAction(
                action_id=new_id(),
                kind=DeadLetterActionKind.DISCARDED,
                actor=actor,
                reason=reason,
                filter=chosen.as_json(),
                counts={"discarded": len(part)},
                items=list(part),
                at=now_ms(),
            )
            for part in chunks(items, _ITEMS_MAX)
        ]
    )


def _lines(fields: dict[str, Any]) -> list[str]:
    return json.dumps(fields, ensure_ascii=False, indent=2).splitlines()


def _sha256(value: bytes | None) -> str:
    return hashlib.sha256(value or b"").hexdigest()
