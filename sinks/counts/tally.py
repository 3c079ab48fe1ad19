"""What the accepted events of a batch add to the counts. Pure.

An event alone says what it adds, but for the type of its task and the start of its run, which
only earlier events have. They come from the batch, or from the task's row (:class:`TaskHead`).
So a log that is cut into batches anywhere gives the same counts.
"""

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache

import msgspec

from schemas.records import EventKind, Json, Millis, StepOutcome, TaskEvent, TaskId, Usage
from sinks.counts import measures
from sinks.counts.measures import NO_BUCKET, Measure, Shape, bucket_of
from sinks.counts.naming import UNKNOWN, Naming
from sinks.counts.row import CountRow
from sinks.rows import LogEvent
from tasks.task import StepStatus

_ENDED = frozenset(
    {StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.CANCELLED, StepStatus.RETRY_SCHEDULED}
)
_WASTED = _ENDED - {StepStatus.SUCCEEDED}
_IGNORED = frozenset({EventKind.OWNERSHIP_TAKEN, EventKind.COMMAND_REFUSED})


@dataclass(frozen=True, slots=True)
class TaskHead:
    """What counts need of a task from its earlier events."""

    type: str
    """Also the name of its pipeline."""
    created_at: Millis
    started_at: Millis | None
    """The first start of a call in the present run."""


def heads_needed(events: Iterable[LogEvent]) -> set[TaskId]:
    """The tasks with an event before the batch has their type."""
    begun: set[TaskId] = set()
    needed: set[TaskId] = set()
    for logged in events:
        event = logged.event
        if event.task is not None:
            begun.add(event.task_id)
        elif event.task_id not in begun and _counts(event):
            needed.add(event.task_id)
    return needed


def tally(
    events: Iterable[LogEvent],
    heads: Mapping[TaskId, TaskHead],
    naming: Naming,
    *,
    without: Container[int] = (),
) -> list[CountRow]:
    """The rows that accepted events add up to, each key once, in the order of their keys.

    Args:
        events: in the log's order, of any partitions.
        heads: of :func:`heads_needed`, as the rows were before these events. The type of a task
            without a head is ``unknown``, and its durations are not counted.
        naming: the names of tenants and models.
        without: offsets of events that were counted before; they only complete the heads.
    """
    fold = _Tally(heads, naming)
    for logged in events:
        fold.apply(logged, counts=logged.offset not in without)
    return fold.rows()


def _counts(event: TaskEvent) -> bool:
    """Whether an event without a task adds anything."""
    ended = event.step is not None and event.step.status in _ENDED
    return event.kind not in _IGNORED and (ended or event.status.terminal)


class _Tally:
    def __init__(self, heads: Mapping[TaskId, TaskHead], naming: Naming) -> None:
        self._heads = dict(heads)
        self._naming = naming
        self._partition = 0
        self._sums: dict[tuple[int, str, Json, int], list[int]] = defaultdict(lambda: [0, 0])

    def apply(self, logged: LogEvent, *, counts: bool) -> None:
        event = logged.event
        if event.kind in _IGNORED:
            return
        self._partition = logged.partition
        head = self._head(event)
        if not counts:
            return
        if event.task is not None:
            self._add(measures.TASKS, event.task.type, "pending")
        if event.step is not None and event.step.status in _ENDED:
            self._add_attempt(event, event.step, head)
        if event.status.terminal:
            self._add_end(event, head)

    def rows(self) -> list[CountRow]:
        return [
            CountRow(*key, events=events, total=Decimal(total))
            for key, (events, total) in sorted(self._sums.items())
        ]

    def _head(self, event: TaskEvent) -> TaskHead | None:
        head = self._heads.get(event.task_id)
        if event.task is not None:
            created = event.kind is EventKind.CREATED
            created_at = event.occurred_at if created else event.task.created_at
            head = TaskHead(event.task.type, created_at, None)
        elif head is not None and head.started_at is None and event.step is not None:
            head = replace(head, started_at=event.step.started_at)
        if head is not None:
            self._heads[event.task_id] = head
        return head

    def _add_attempt(self, event: TaskEvent, step: StepOutcome, head: TaskHead | None) -> None:
        self._add(measures.SERVICE_CALLS, step.service, step.status)
        if step.started_at is not None and step.completed_at is not None:
            pipeline = UNKNOWN if head is None else head.type
            took_ms = step.completed_at - step.started_at
            self._add(measures.STEP_DURATION, pipeline, step.name, value=took_ms)
        if step.usage is not None:
            self._add_usage(event, step, step.usage)

    def _add_usage(self, event: TaskEvent, step: StepOutcome, usage: Usage) -> None:
        tokens, cost = usage.input_tokens + usage.output_tokens, usage.cost_micros
        labels = self._naming.model(usage.model), self._naming.tenant(event.tenant_id)
        self._add(measures.TOKENS, *labels, value=tokens)
        self._add(measures.COST, *labels, value=cost)
        self._add(measures.TENANT_TOKENS, event.tenant_id, value=tokens)
        self._add(measures.TENANT_COST, event.tenant_id, value=cost)
        if step.status in _WASTED:
            self._add(measures.WASTED_TOKENS, step.service, value=tokens)
            self._add(measures.WASTED_COST, step.service, value=cost)

    def _add_end(self, event: TaskEvent, head: TaskHead | None) -> None:
        kind = UNKNOWN if head is None else head.type
        self._add(measures.TASKS, kind, event.status.value)
        if head is None:
            return
        if head.started_at is not None:
            took_ms = event.occurred_at - head.started_at
            self._add(measures.TASK_DURATION, kind, value=took_ms)
        if event.run == 1:
            took_ms = event.occurred_at - head.created_at
            self._add(measures.TASK_TURNAROUND, kind, value=took_ms)

    def _add(self, measure: Measure, *labels: str, value: int = 0) -> None:
        bucket = bucket_of(value) if measure.shape is Shape.DURATION else NO_BUCKET
        key = (self._partition, measure.name, _document(measure, labels), bucket)
        sums = self._sums[key]
        sums[0] += 1
        sums[1] += value


# The same few series come again and again.
@lru_cache(maxsize=10_000)
def _document(measure: Measure, labels: tuple[str, ...]) -> Json:
    return Json(msgspec.json.encode(dict(zip(measure.labels, labels, strict=True))).decode())
