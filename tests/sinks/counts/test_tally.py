"""What events add to the metrics, without a database."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.records import CommandKind, EventKind, Millis, ResultKind, TaskId, Usage
from sinks.counts import measures
from sinks.counts.measures import ABOVE_ALL, BUCKETS_MS, bucket_of
from sinks.counts.naming import Naming
from sinks.counts.row import CountRow
from sinks.counts.tally import TaskHead, heads_needed, tally
from sinks.rows import LogEvent
from tests.sinks.building import AWAY, ALog, a_completed_log, a_marker
from tests.sinks.test_sink_projection import logs


def counted(rows: Sequence[CountRow], metric: str) -> dict[tuple[str, ...], tuple[int, int]]:
    """Events and totals of a metric by labels, over all partitions and buckets."""
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    for row in rows:
        if row.metric == metric:
            key = tuple(json.loads(row.labels).values())
            events, total = found.get(key, (0, 0))
            found[key] = (events + row.events, total + int(row.total))
    return found


def key_of(row: CountRow) -> tuple[object, ...]:
    return (row.log_partition, row.metric, row.labels, row.bucket)


def whole(log: ALog) -> list[CountRow]:
    """All of a log in one batch."""
    return tally(log.events, {}, Naming())


@given(log=logs(), data=st.data())
def test_a_log_that_is_cut_anywhere_adds_up_to_the_same_counts(
    log: ALog, data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(log.events)), max_size=8))
    naming = Naming()
    sums: Counter[tuple[object, ...]] = Counter()
    heads: dict[TaskId, TaskHead] = {}
    for begin, end in pairwise([0, *sorted(cuts), len(log.events)]):
        batch = log.events[begin:end]
        given = {task: heads[task] for task in heads_needed(batch)}
        for row in tally(batch, given, naming):
            sums[(*key_of(row), "events")] += row.events
            sums[(*key_of(row), "total")] += int(row.total)
        remember(heads, batch)

    assert +sums == +Counter(
        {
            (*key_of(row), what): int(value)
            for row in whole(log)
            for what, value in (("events", row.events), ("total", row.total))
        }
    )


def remember(heads: dict[TaskId, TaskHead], batch: Sequence[LogEvent]) -> None:
    """What the rows of tasks are after a batch."""
    for logged in batch:
        event = logged.event
        if event.task is not None:
            created = event.occurred_at if event.kind is EventKind.CREATED else Millis(0)
            former = heads.get(event.task_id)
            if event.kind is EventKind.RETRIED and former is not None:
                created = former.created_at
            heads[event.task_id] = TaskHead(event.task.type, created, None)
        elif event.step is not None and event.kind is not EventKind.COMMAND_REFUSED:
            head = heads[event.task_id]
            if head.started_at is None:
                heads[event.task_id] = TaskHead(head.type, head.created_at, event.step.started_at)


def test_a_task_counts_when_it_is_created_and_when_it_ends() -> None:
    assert counted(whole(a_completed_log()), measures.TASKS.name) == {
        ("rag", "pending"): (1, 0),
        ("rag", "completed"): (1, 0),
    }


def test_a_retried_task_counts_once_more_for_each_run() -> None:
    log = ALog()
    log.create()
    log.report(ResultKind.FAILED)
    log.command(CommandKind.RETRY)
    log.run_to_the_end()

    rows = whole(log)
    assert counted(rows, measures.TASKS.name) == {
        ("rag", "pending"): (2, 0),
        ("rag", "failed"): (1, 0),
        ("rag", "completed"): (1, 0),
    }
    assert counted(rows, measures.TASK_TURNAROUND.name)["rag",][0] == 1
    assert counted(rows, measures.TASK_DURATION.name)["rag",][0] == 2


def test_an_attempt_counts_its_outcome_its_usage_and_what_was_wasted() -> None:
    log = ALog()
    log.create()
    log.report(ResultKind.STARTED)
    log.report(ResultKind.FAILED, error=AWAY)
    log.report(ResultKind.SUCCEEDED)
    rows = whole(log)

    assert counted(rows, measures.SERVICE_CALLS.name) == {
        ("retrieval-service", "retry_scheduled"): (1, 0),
        ("retrieval-service", "succeeded"): (1, 0),
    }
    assert counted(rows, measures.TOKENS.name) == {("small", "acme"): (2, 30)}
    assert counted(rows, measures.COST.name) == {("small", "acme"): (2, 900)}
    assert counted(rows, measures.WASTED_TOKENS.name) == {("retrieval-service",): (1, 15)}
    assert counted(rows, measures.WASTED_COST.name) == {("retrieval-service",): (1, 450)}
    assert counted(rows, measures.STEP_DURATION.name)["rag", "retrieve"][0] == 2


def test_an_abandoned_attempt_counts_as_cancelled_and_has_no_duration() -> None:
    log = ALog()
    log.create()
    log.report(ResultKind.STARTED)
    log.command(CommandKind.CANCEL)
    rows = whole(log)

    assert counted(rows, measures.SERVICE_CALLS.name) == {
        ("retrieval-service", "cancelled"): (1, 0)
    }
    assert counted(rows, measures.STEP_DURATION.name) == {}


def test_refused_commands_and_markers_count_nothing() -> None:
    log = a_completed_log()
    before = whole(log)
    log.command(CommandKind.CANCEL)
    log.append(a_marker(2))

    assert len(log.events) > len(a_completed_log().events) + 1
    assert whole(log) == before


def test_a_task_without_a_row_is_of_unknown_type_and_has_no_duration() -> None:
    rows = tally(a_completed_log().events[1:], {}, Naming())

    assert counted(rows, measures.TASKS.name) == {("unknown", "completed"): (1, 0)}
    assert counted(rows, measures.TASK_DURATION.name) == {}
    assert set(counted(rows, measures.STEP_DURATION.name)) == {
        ("unknown", "retrieve"),
        ("unknown", "generate"),
    }


def test_events_that_were_counted_before_only_complete_the_others() -> None:
    events = a_completed_log().events

    rows = tally(events, {}, Naming(), without={0, 1, 2})

    assert counted(rows, measures.TASKS.name) == {("rag", "completed"): (1, 0)}


def test_usages_above_64_bits_add_up() -> None:
    log = a_completed_log()
    events = []
    for logged in log.events:
        step = logged.event.step
        if step is not None and step.usage is not None:
            usage = Usage(model="m", input_tokens=2**63 - 1, cost_micros=2**63 - 1)
            step = msgspec.structs.replace(step, usage=usage)
        event = msgspec.structs.replace(logged.event, step=step)
        events.append(LogEvent(0, logged.offset, event))

    assert counted(tally(events, {}, Naming()), measures.COST.name) == {
        ("m", "acme"): (2, 2 * (2**63 - 1))
    }


@pytest.mark.parametrize(
    ("duration_ms", "bucket"),
    [(0, 10), (10, 10), (11, 25), (600_000, 600_000), (600_001, ABOVE_ALL)],
)
def test_a_bucket_holds_the_durations_up_to_its_bound(duration_ms: int, bucket: int) -> None:
    assert bucket_of(duration_ms) == bucket
    assert sorted(BUCKETS_MS) == list(BUCKETS_MS)
