"""``orchestrator dlq``: show dead letters, explain, edit and replay them."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from orchestrator.api.tasks.sources import ReadLogs, timeline
from orchestrator.cli.dlq import edit, files, replay
from orchestrator.cli.dlq.find import one
from orchestrator.cli.dlq.options import (
    ClassOption,
    CodeOption,
    ExceptionOption,
    JsonOption,
    LetterId,
    ServiceOption,
    StageOption,
    StatusOption,
    StepOption,
    TaskOption,
    TenantOption,
    TopicOption,
    TypeOption,
    a_filter,
    form,
)
from orchestrator.cli.dlq.show import (
    letter_document,
    print_letter,
    print_list,
    print_stats,
)
from orchestrator.cli.options import SinceOption, UntilOption
from orchestrator.cli.output import Output, OutputOption, json_text, print_line, print_text
from orchestrator.cli.running import kafka_settings, open_reader, postgres_settings
from orchestrator.letters.connections import LetterConnections, open_connections
from orchestrator.logs import LogSettings, set_up_logs
from schemas.dead_letter_record import read_dead_letter
from schemas.records import TaskId
from sinks.letters.writer import DeadLetterWriter
from sinks.reads.stored import StoredLog
from streams.history.task_log import TaskLog
from streams.letters.scan import read_letter
from tasks.letters.contents import related_letters
from tasks.letters.filter import LetterFilter
from tasks.letters.histogram import BY
from tasks.letters.known import KnownLetter
from tasks.letters.ledger import LetterState

app = typer.Typer(help="Show dead letters, edit, replay and discard them.", no_args_is_help=True)
app.command("replay")(replay.replay)
app.command("edit")(edit.edit)
app.command("discard")(edit.discard)
app.command("export")(files.export)
app.command("import")(files.import_)

_UNSETTLED = ["open", "replaying", "parked"]


@app.callback()
def _logs() -> None:
    # Results go to standard output, warnings to standard error.
    set_up_logs(LogSettings(level="warning", format="console"), role="dlq")


@app.command("list")
def list_letters(
    topic: TopicOption = None,
    task: TaskOption = None,
    tenant: TenantOption = None,
    task_type: TypeOption = None,
    step: StepOption = None,
    service: ServiceOption = None,
    stage: StageOption = None,
    failure_class: ClassOption = None,
    code: CodeOption = None,
    exception: ExceptionOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also letters that are resolved or discarded.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=0, help="Show at most this many letters, the newest; 0 shows all.")
    ] = 50,
    ids_only: Annotated[bool, typer.Option("--ids", help="Print only ids, one a line.")] = False,
    output: OutputOption = Output.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Show the dead letters that are open, replaying or parked, or those that the filters match."""
    chosen = a_filter(
        kafka_settings().topics.prefix,
        topic=topic,
        task=task,
        tenant=tenant,
        type=task_type,
        step=step,
        service=service,
        stage=stage,
        failure_class=failure_class,
        code=code,
        exception=exception,
        status=status or (None if everything else _UNSETTLED),
        since=since,
        until=until,
    )
    known_letters = asyncio.run(_known_letters(chosen))
    print_list(known_letters, limit=limit, output=form(output, as_json), ids_only=ids_only)


@app.command()
def stats(
    by: Annotated[
        list[str] | None,
        typer.Option(help=f"Count by {', '.join(BY)}; may be given several times."),
    ] = None,
    topic: TopicOption = None,
    tenant: TenantOption = None,
    step: StepOption = None,
    code: CodeOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    output: OutputOption = Output.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Count dead letters: which failures, and since when."""
    fields = by or ["code", "step", "service", "tenant", "hour"]
    wrong = [name for name in fields if name not in BY]
    if wrong:
        raise typer.BadParameter(f"--by {wrong[0]}: it must be one of {', '.join(BY)}")
    chosen = a_filter(
        kafka_settings().topics.prefix,
        topic=topic,
        tenant=tenant,
        step=step,
        code=code,
        status=status,
        since=since,
        until=until,
    )
    print_stats(asyncio.run(_known_letters(chosen)), fields, output=form(output, as_json))


@app.command()
def show(letter_id: LetterId, output: OutputOption = Output.TABLE) -> None:
    """Show one dead letter: why, its record, earlier replays, and its task's history.

    It is a JSON document: indented, or on one line with `-o json`.
    """
    indent = None if output is Output.JSON else 2
    print_text(json_text(asyncio.run(_show(letter_id)), indent=indent))


@app.command()
def tail(
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Also the letters that are there already.")
    ] = False,
    tenant: TenantOption = None,
    code: CodeOption = None,
    output: OutputOption = Output.JSON,
) -> None:
    """Print dead letters as they come; Ctrl-C ends it."""
    chosen = a_filter(kafka_settings().topics.prefix, tenant=tenant, code=code)
    try:
        asyncio.run(_tail(chosen, from_start, output))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@app.command()
def reindex() -> None:
    """Empty the index in Postgres; the role dlq-index fills it again from the topics."""
    asyncio.run(_reindex())


async def _known_letters(chosen: LetterFilter) -> list[KnownLetter]:
    async with open_connections(kafka_settings()) as connections:
        all_letters = await connections.indexed_letters()
    return [known for known in all_letters.ordered() if chosen.matches(known)]


async def _show(letter_id: str) -> dict[str, object]:
    async with open_connections(kafka_settings()) as connections:
        all_letters = await connections.indexed_letters()
        known = one(all_letters, letter_id)
        return letter_document(
            await _with_value(connections, known),
            connections.topics,
            history=await connections.log.history(known.letter.id),
            related=related_letters(all_letters.ordered(), known.letter),
            timeline=await timeline(
                TaskLog(connections.reader, connections.topics),
                known.letter.task_id,
                _logs_of(connections),
            ),
        )


async def _with_value(connections: LetterConnections, known: KnownLetter) -> KnownLetter:
    """The letter from its topic, or from the index if its topic no longer holds it."""
    found = known.letter
    letter = await read_letter(
        connections.reader,
        found.dlq_topic,
        found.dlq_partition,
        found.dlq_offset,
        connections.topics,
    )
    return KnownLetter(letter or found, known.state)


def _logs_of(connections: LetterConnections) -> ReadLogs | None:
    if not connections.settings.postgres.dsn:
        return None

    async def read(task_id: TaskId) -> list[StoredLog]:
        async with open_reader(connections.settings) as reader:
            return await reader.logs(task_id)

    return read


async def _tail(chosen: LetterFilter, from_start: bool, output: Output) -> None:
    async with open_connections(kafka_settings()) as connections:
        places = await connections.reader.all_partitions(connections.dlq_topics)
        bounds = await connections.reader.all_bounds(places)
        starts = {key: first if from_start else end for key, (first, end) in bounds.items()}
        async for records in connections.reader.follow_all(starts):
            for record in records:
                known = KnownLetter(read_dead_letter(record, connections.topics), LetterState())
                if chosen.matches(known):
                    print_letter(known, output)


async def _reindex() -> None:
    writer = DeadLetterWriter(postgres_settings().postgres)
    await writer.open()
    try:
        await writer.empty()
    finally:
        await writer.close()
    print_line("the index is empty; the role dlq-index fills it again")
