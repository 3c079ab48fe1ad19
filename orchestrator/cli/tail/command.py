"""``orchestrator tail TOPIC``: the records of a topic, as they come or as they were."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer

from orchestrator.cli.arguments import millis
from orchestrator.cli.options import SinceOption, UntilOption
from orchestrator.cli.output import Output, OutputOption, terminal_width
from orchestrator.cli.running import kafka_settings, log_to_standard_error
from orchestrator.cli.tail.record import Filter, Shown, show
from orchestrator.cli.tail.table import TailTable
from orchestrator.layout import topic_table
from orchestrator.pipelines import installed_pipelines
from orchestrator.schema_ids import use_schema_ids
from orchestrator.settings import Settings
from schemas.codec import decode
from schemas.dead_letter import Origin
from schemas.errors import DecodeError
from schemas.records import TaskEvent
from schemas.topics import DLQ_PREFIX, Topic
from streams.history.acceptance import Ownership, accept
from streams.history.accepted import ownership_at_start, ownership_before
from streams.kafka.log_reader import LogReader


def tail(
    topic: Annotated[
        str, typer.Argument(help="A topic's name; its prefix and version may be left out.")
    ],
    from_start: Annotated[
        bool, typer.Option("--from-start", help="From the first record that is still there.")
    ] = False,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Stop at the end that the topic has now.")
    ] = False,
    since: SinceOption = None,
    until: UntilOption = None,
    task: Annotated[str | None, typer.Option(help="Only this task, by its id.")] = None,
    task_type: Annotated[str | None, typer.Option("--type", help="Only this task type.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    step: Annotated[str | None, typer.Option(help="Only this step.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="Only this kind of record, such as completed.")
    ] = None,
    output: OutputOption = Output.JSON,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw", help="Also the events of task-events that the acceptance rule ignores, marked."
        ),
    ] = False,
) -> None:
    """Print records, decoded: one JSON object a line, or one line of a table.

    Events of task-events are shown if the partition's owner wrote them: other events do not
    count. A value that cannot be decoded is printed as hex, with the reason. With --until the
    command ends at that time, or at the current end of the topic; without --until-end and --until
    it follows the topic until Ctrl-C.
    """
    settings = kafka_settings()
    chosen, origin = _find(topic, settings)
    span = _Span(from_start, until_end, _millis(since), _millis(until))
    wanted = Filter(task, task_type, tenant, step, kind)
    rule = not raw or chosen.record is not TaskEvent
    log_to_standard_error()
    try:
        asyncio.run(_Tail(chosen, origin, settings, span, wanted, rule).run(output))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@dataclass(frozen=True, slots=True)
class _Span:
    from_start: bool
    until_end: bool
    since_ms: int | None
    until_ms: int | None

    @property
    def bounded(self) -> bool:
        return self.until_end or self.until_ms is not None


class _Tail:
    def __init__(
        self,
        topic: Topic,
        origin: Topic | None,
        settings: Settings,
        span: _Span,
        wanted: Filter,
        rule: bool,
    ) -> None:
        self._topic = topic
        self._origin = origin
        self._settings = settings
        self._span = span
        self._wanted = wanted
        self._rule = rule
        self._owners: dict[int, Ownership | None] = {}

    async def run(self, output: Output) -> None:
        kafka = self._settings.kafka
        await use_schema_ids(self._settings)
        async with LogReader(kafka, client_id=f"{kafka.client_id}-tail") as reader:
            width = terminal_width() if output is Output.TABLE else None
            table = TailTable(width, one_task=self._wanted.task is not None)
            if output is not Output.JSON:
                table.announce()
            async for records in self._records(reader):
                shown = (self._show(record) for record in records)
                as_text = Shown.as_text if output is Output.JSON else table.line
                lines = [as_text(one) for one in shown if self._wants(one)]
                if lines:
                    sys.stdout.write("\n".join(lines) + "\n")
                    sys.stdout.flush()

    async def _records(self, reader: LogReader) -> AsyncIterator[Sequence[Origin]]:
        name, span = self._topic.name, self._span
        starts, ends = {}, {}
        for partition in await reader.partitions(name):
            first, end = await reader.bounds(name, partition)
            starts[partition], ends[partition] = first if span.from_start else end, end
            if span.since_ms is not None:
                starts[partition] = await reader.offset_at(name, partition, span.since_ms)
            elif span.until_ms is not None:
                starts[partition] = first
            if span.until_ms is not None:
                ends[partition] = await reader.offset_at(name, partition, span.until_ms)
            if self._topic.record is TaskEvent:
                self._owners[partition] = await self._owner(reader, partition, starts[partition])
        if not span.bounded:
            async for records in reader.follow(name, starts):
                yield records
        for partition, start in starts.items():
            async for records in reader.read(name, partition, start, ends[partition]):
                yield records

    async def _owner(self, reader: LogReader, partition: int, start: int) -> Ownership | None:
        first, end = await reader.bounds(self._topic.name, partition)
        if start == first:
            return await ownership_at_start(reader, self._topic.name, partition, first, end)
        return await ownership_before(reader, self._topic.name, partition, start)

    def _show(self, record: Origin) -> Shown:
        return show(record, self._topic, self._origin, ignored=self._ignored(record))

    def _ignored(self, record: Origin) -> bool:
        """Apply the acceptance rule to the next record of its partition."""
        if self._topic.record is not TaskEvent:
            return False
        try:
            event = decode(record.value, TaskEvent)
        except DecodeError:
            return False  # it is shown, with the reason
        accepted = accept(self._owners[record.partition], event)
        if accepted is not None:
            self._owners[record.partition] = accepted
        return accepted is None

    def _wants(self, shown: Shown) -> bool:
        return not (self._rule and shown.ignored) and self._wanted.wants(shown)


def _millis(moment: datetime | None) -> int | None:
    return None if moment is None else millis(moment)


def _find(name: str, settings: Settings) -> tuple[Topic, Topic | None]:
    """The topic, and for a dead-letter topic the one whose records it holds."""
    table = {
        topic.name: topic
        for topic in topic_table(settings, installed_pipelines(settings.pipelines))
    }
    prefix = settings.topics.prefix
    short = name.removeprefix(DLQ_PREFIX)
    dlq = DLQ_PREFIX if name.startswith(DLQ_PREFIX) else ""
    for candidate in (name, f"{dlq}{prefix}{short}", f"{dlq}{prefix}{short}.v1"):
        if candidate in table:
            return table[candidate], table.get(candidate.removeprefix(DLQ_PREFIX))
    raise typer.BadParameter(f"there is no topic {name!r}; `orchestrator topics list` shows all")
