"""``orchestrator dlq``: see dead letters, understand them, mend them, replay them."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer

from orchestrator.cli import dlq_edit, dlq_files, dlq_replay
from orchestrator.cli.dlq_find import one
from orchestrator.cli.dlq_options import (
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
from orchestrator.cli.dlq_show import (
    letter_document,
    print_case,
    print_list,
    print_stats,
)
from orchestrator.cli.options import SinceOption, UntilOption
from orchestrator.cli.output import Output, OutputOption
from orchestrator.cli.running import kafka_settings, open_reader, postgres_settings
from orchestrator.letters.contents import related_cases
from orchestrator.letters.timeline import ReadLogs, timeline
from orchestrator.letters.workplace import Workplace, workplace
from orchestrator.observability import LogSettings, set_up_logs
from schemas.buried import read_dead_letter
from schemas.records import TaskId
from sinks.dead_letter_writer import DeadLetterWriter
from sinks.stored import StoredLog
from streams.bench.scan import read_letter
from tasks.letters.bench import Case
from tasks.letters.filter import LetterFilter
from tasks.letters.histogram import BY
from tasks.letters.ledger import Entry

app = typer.Typer(help="Dead letters: see, mend and replay them.", no_args_is_help=True)
app.command("replay")(dlq_replay.replay)
app.command("edit")(dlq_edit.edit)
app.command("discard")(dlq_edit.discard)
app.command("export")(dlq_files.export)
app.command("import")(dlq_files.import_)

_UNSETTLED = ["open", "replaying", "parked"]


@app.callback()
def _logs() -> None:
    # Results go to standard output, what is odd to standard error.
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
    cases = asyncio.run(_cases(chosen))
    print_list(cases, limit=limit, output=form(output, as_json), ids_only=ids_only)


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
    """Count dead letters: what broke, since when."""
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
    print_stats(asyncio.run(_cases(chosen)), fields, output=form(output, as_json))


@app.command()
def show(letter_id: LetterId, output: OutputOption = Output.TABLE) -> None:
    """Show one dead letter: why, its record, earlier replays, and its task's history.

    It is a JSON document: indented, or on one line with `-o json`.
    """
    indent = None if output is Output.JSON else 2
    print(json.dumps(asyncio.run(_show(letter_id)), ensure_ascii=False, indent=indent))


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


async def _cases(chosen: LetterFilter) -> list[Case]:
    async with workplace(kafka_settings()) as place:
        bench = await place.quick_bench()
    return [case for case in bench.cases() if chosen.matches(case)]


async def _show(letter_id: str) -> dict[str, object]:
    async with workplace(kafka_settings()) as place:
        bench = await place.quick_bench()
        case = one(bench, letter_id)
        return letter_document(
            await _with_value(place, case),
            place.topics,
            history=await place.log.history(case.letter.id),
            related=related_cases(bench.cases(), case.letter),
            timeline=await timeline(place, case.letter.task_id, _logs_of(place)),
        )


async def _with_value(place: Workplace, case: Case) -> Case:
    """The letter as its topic has it; as the index has it if it is there no longer."""
    found = case.letter
    letter = await read_letter(
        place.reader, found.dlq_topic, found.dlq_partition, found.dlq_offset, place.topics
    )
    return Case(letter or found, case.entry)


def _logs_of(place: Workplace) -> ReadLogs | None:
    if not place.settings.postgres.dsn:
        return None

    async def read(task_id: TaskId) -> list[StoredLog]:
        async with open_reader(place.settings) as reader:
            return await reader.logs(task_id)

    return read


async def _tail(chosen: LetterFilter, from_start: bool, output: Output) -> None:
    async with workplace(kafka_settings()) as place:
        places = await place.reader.all_partitions(place.dlq_topics)
        bounds = await place.reader.all_bounds(places)
        starts = {key: first if from_start else end for key, (first, end) in bounds.items()}
        async for records in place.reader.follow_all(starts):
            for record in records:
                case = Case(read_dead_letter(record, place.topics), Entry())
                if chosen.matches(case):
                    print_case(case, output)


async def _reindex() -> None:
    writer = DeadLetterWriter(postgres_settings().postgres)
    await writer.open()
    try:
        await writer.empty()
    finally:
        await writer.close()
    print("the index is empty; the role dlq-index fills it again")
