"""``orchestrator dlq export`` and ``import``: dead letters as a file, byte for byte."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from orchestrator.cli.arguments import check_reason, default_actor, read_text
from orchestrator.cli.dlq.options import (
    CodeOption,
    StatusOption,
    TaskOption,
    TenantOption,
    TopicOption,
    a_filter,
)
from orchestrator.cli.errors import AnswerError
from orchestrator.cli.options import (
    ActorOption,
    ExecuteOption,
    ReasonOption,
    SinceOption,
    UntilOption,
)
from orchestrator.cli.output import Output, OutputOption, print_json, print_line
from orchestrator.cli.running import kafka_settings
from orchestrator.letters.connections import LetterConnections, open_connections
from orchestrator.private import write_private
from schemas.dead_letter import Origin
from schemas.dead_letter_record import read_dead_letter
from schemas.records import DeadLetterAction, DeadLetterActionKind, DeadLetterItem
from streams.clock import now_ms
from streams.kafka.publisher import Outgoing
from streams.letters.action_log import new_id
from streams.letters.scan import scan_records
from tasks.letters.known import KnownLetters
from tasks.letters.parts import in_parts

_BATCH_MAX = 500
_Whole = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


def export(
    file: Annotated[
        Path,
        typer.Argument(help="The file to write, one JSON object a line; an older one is replaced."),
    ],
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", help="Only this letter, by its id or the beginning of it."),
    ] = None,
    topic: TopicOption = None,
    task: TaskOption = None,
    tenant: TenantOption = None,
    code: CodeOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write dead letters with keys, values and all headers (base64) into a file.

    Only your account can read the file (mode 0600).

    `-o json` prints one object: letters (how many) and file.
    """
    chosen = a_filter(
        kafka_settings().topics.prefix,
        ids=ids,
        topic=topic,
        task=task,
        tenant=tenant,
        code=code,
        status=status,
        since=since,
        until=until,
    )

    async def run() -> int:
        async with open_connections(kafka_settings()) as connections:
            records = await scan_records(connections.reader, connections.dlq_topics)
            await connections.log.catch_up()
            read = [(read_dead_letter(record, connections.topics), record) for record in records]
            # The first of several copies of a letter counts.
            by_id = {letter.id: (letter, record) for letter, record in reversed(read)}
            letters = [letter for letter, _ in by_id.values()]
            known_letters = [
                c
                for c in KnownLetters(letters, connections.log.ledger).ordered()
                if chosen.matches(c)
            ]
            lines = [json.dumps(as_line(by_id[known.letter.id][1])) for known in known_letters]
        _write(file, lines)
        return len(lines)

    count = asyncio.run(run())
    if output is Output.JSON:
        print_json({"letters": count, "file": str(file)})
    else:
        print_line(f"{count} exported to {file}")


def import_(
    file: Annotated[Path, typer.Argument(help="A file that `dlq export` wrote.")],
    execute: ExecuteOption = False,
    reason: ReasonOption = "",
    actor: ActorOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Put exported dead letters into this cluster's topics; existing ones are left out.

    `-o json` prints one object: letters (in the file), new (not here yet) and done (false for a
    dry run).
    """
    check_reason(execute=execute, reason=reason)
    records = list(from_lines(file))
    new = asyncio.run(_import(records, execute, reason, actor or default_actor()))
    if output is Output.JSON:
        print_json({"letters": len(records), "new": new, "done": execute})
        return
    print_line(f"{new} of {len(records)} are not here yet")
    if execute:
        print_line(f"{new} imported")
    else:
        print_line("a dry run: nothing was written; add --execute --reason TEXT")


async def _import(records: list[Origin], execute: bool, reason: str, actor: str) -> int:
    """Publish the letters that are missing here if ``execute`` is set; return their number."""
    async with open_connections(kafka_settings()) as connections:
        all_letters = await connections.all_letters(values=False)
        known = {known.letter.id for known in all_letters.ordered()}
        fresh = {
            letter_id: record
            for record in records
            if (letter_id := read_dead_letter(record, connections.topics).id) not in known
        }
        strange = sorted({r.topic for r in fresh.values()} - set(connections.dlq_topics))
        if strange:
            raise typer.BadParameter(f"{strange[0]} is not a dead-letter topic of this system")
        if execute:
            await _publish(connections, fresh, reason, actor)
        return len(fresh)


async def _publish(
    connections: LetterConnections, fresh: dict[str, Origin], reason: str, actor: str
) -> None:
    publisher = await connections.publisher()
    for part in in_parts([DeadLetterItem(letter_id=i) for i in fresh], _BATCH_MAX):
        found = [fresh[item.letter_id] for item in part]
        await publisher.publish(
            [
                Outgoing(
                    topic=record.topic,
                    partition=record.partition % await publisher.partitions(record.topic),
                    key=record.key,
                    value=record.value,
                    headers=list(record.headers),
                    timestamp_ms=record.timestamp_ms,
                )
                for record in found
            ]
        )
        imported = DeadLetterAction(
            action_id=new_id(),
            kind=DeadLetterActionKind.IMPORTED,
            actor=actor,
            reason=reason,
            counts={"imported": len(part)},
            items=list(part),
            at=now_ms(),
        )
        await connections.log.append([imported])


def _write(file: Path, lines: list[str]) -> None:
    """Write the file; AnswerError if that fails."""
    try:
        write_private(file, lines)
    except OSError as error:
        raise AnswerError("OUTPUT_NOT_WRITTEN", f"{file}: {error.strerror}") from None


class _Line(msgspec.Struct):
    """A line of an exported file; msgspec reads bytes from base64."""

    topic: str
    partition: _Whole
    offset: _Whole
    timestamp: _Whole
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def as_line(record: Origin) -> dict[str, Any]:
    """A record of a dead-letter topic, unchanged, ready for JSON."""
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp_ms,
        "key": _base64(record.key),
        "value": _base64(record.value),
        "headers": [[name, _base64(value)] for name, value in record.headers],
    }


def from_lines(file: Path) -> Iterator[Origin]:
    """The records of an exported file.

    Raises:
        typer.BadParameter: ``export`` does not write such a line; the message has its number.
    """
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if not line:
            continue
        try:
            given = msgspec.convert(json.loads(line), _Line)
        except (ValueError, RecursionError) as error:
            raise typer.BadParameter(
                f"{file}:{number} is not an exported dead letter: {error}"
            ) from None
        yield Origin(
            topic=given.topic,
            partition=given.partition,
            offset=given.offset,
            timestamp_ms=given.timestamp,
            key=given.key,
            value=given.value,
            headers=tuple(given.headers),
        )


def _base64(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()
