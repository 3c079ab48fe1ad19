"""Whatever way a log is cut into batches, the tables are the same, and equal the fold."""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.api.replica.live_task import folded
from orchestrator.api.tasks.views.task import TaskView, live_view, stored_view
from schemas.records import CommandKind, Error, EventKind, ResultKind, TaskEvent, TaskId
from sinks.reads.reader import Reader
from sinks.reads.stored import StoredTask
from sinks.writer import Writer
from tasks.task import Task
from tests.sinks.building import AWAY, BROKEN, ALog, write_all, write_on

_TASKS = [TaskId(f"task_{number}") for number in range(4)]
_MONTH_MS = 31 * 24 * 3_600_000

# The database is emptied between examples, so that one serves them all.
_EXAMPLES = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def _report(kind: ResultKind, error: Error = BROKEN) -> Callable[[ALog, str], None]:
    return lambda log, task_id: log.report(kind, task_id, error=error)


def _command(kind: CommandKind, **rest: object) -> Callable[[ALog, str], None]:
    return lambda log, task_id: log.command(kind, task_id, **rest)


_HAPPENINGS: dict[Callable[[ALog, str], None], int] = {
    _report(ResultKind.STARTED): 5,
    _report(ResultKind.SUCCEEDED): 4,
    _report(ResultKind.FAILED): 2,
    _report(ResultKind.FAILED, AWAY): 3,
    _command(CommandKind.EXECUTE): 1,
    _command(CommandKind.CANCEL): 2,
    _command(CommandKind.SET_PRIORITY, priority=10): 1,
    _command(CommandKind.SET_PRIORITY, priority=11): 1,
    _command(CommandKind.RETRY): 4,
    _command(CommandKind.RETRY, from_step="retrieve"): 2,
    ALog.deadline: 1,
    ALog.forget: 1,
}
"""What may happen to a task, and how often."""


@st.composite
def logs(draw: st.DrawFn) -> ALog:
    """Logs of some tasks over some months, in which everything may happen in any order."""
    # By a seed: drawn one by one, most choices would be the first of their list.
    chance = random.Random(draw(st.integers(min_value=0, max_value=2**32)))
    log = ALog()
    for _ in range(60):
        task_id = chance.choice(_TASKS)
        if task_id not in log.states:
            log.now += chance.choice([0, _MONTH_MS])
            log.create(task_id, hold=chance.random() < 0.2)
        else:
            happens = chance.choices(list(_HAPPENINGS), list(_HAPPENINGS.values()))
            happens[0](log, task_id)
    return log


@_EXAMPLES
@given(data=st.data(), log=logs())
async def test_a_log_cut_anywhere_gives_the_same_tables(
    database: str, writer: Writer, data: st.DataObject, log: ALog
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(log.events)), max_size=8))
    await _empty(database)
    await write_all(writer, log.events)
    whole = await _tables(database)
    await _empty(database)

    await write_all(writer, log.events, cuts)

    assert await _tables(database) == whole


@_EXAMPLES
@given(data=st.data(), log=logs())
async def test_parts_of_a_log_written_again_change_nothing(
    database: str, writer: Writer, data: st.DataObject, log: ALog
) -> None:
    await _empty(database)
    await write_all(writer, log.events)
    before = await _tables(database)
    born = max(index for index, logged in enumerate(log.events) if logged.event.kind == "created")
    # What lies before a new life of an id was replaced with it, so the parts begin after it.
    begin = data.draw(st.integers(born if len(log.events) > 1 else 0, len(log.events)))
    end = data.draw(st.integers(begin, len(log.events)))

    await write_on(writer, log.events[begin:end])

    assert await _tables(database) == before


@_EXAMPLES
@given(log=logs())
async def test_rows_equal_the_fold_of_their_events(
    database: str, writer: Writer, reader: Reader, log: ALog
) -> None:
    await _empty(database)
    # One by one: no row is made of more than one event.
    await write_all(writer, log.events, range(len(log.events)))

    rows = await reader.tasks(log.last_states)

    by_id = sorted(log.last_states)
    assert [row.id for row in sorted(rows, key=lambda row: row.id)] == by_id
    assert {row.id: _shown(row) for row in rows} == {
        task_id: _folded(task) for task_id, task in log.last_states.items()
    }


def _shown(row: StoredTask) -> dict[str, object]:
    return {
        "status": row.status,
        "phase": row.phase,
        "priority": row.priority,
        "run": row.run,
        "sequence": row.sequence,
        "input": json.loads(row.input),
        "output": None if row.output is None else json.loads(row.output),
        "error": row.error_code,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "started_at": row.started_at,
        "completed_at": row.completed_at,
        "deadline_at": row.deadline_at,
        "cost_micros": row.cost_micros,
        "input_tokens": row.input_tokens,
    }


def _folded(task: Task) -> dict[str, object]:
    return {
        "status": task.status,
        "phase": task.phase,
        "priority": task.priority,
        "run": task.run,
        "sequence": task.sequence,
        "input": json.loads(task.spec.input),
        "output": None if task.output is None else json.loads(task.output),
        "error": None if task.error is None else task.error.code,
        "created_at": _time(task.created_at),
        "updated_at": _time(task.updated_at),
        "started_at": _time(task.started_at),
        "completed_at": _time(task.completed_at),
        "deadline_at": _time(task.deadline_at),
        "cost_micros": task.usage.cost_micros,
        "input_tokens": task.usage.input_tokens,
    }


def _time(at: int | None) -> datetime | None:
    if at is None:
        return None
    return datetime.fromtimestamp(at // 1000, UTC).replace(microsecond=at % 1000 * 1000)


@_EXAMPLES
@given(log=logs())
async def test_a_task_in_memory_is_shown_as_its_row_is(
    database: str, writer: Writer, reader: Reader, log: ALog
) -> None:
    await _empty(database)
    await write_all(writer, log.events)
    rows = {row.id: row for row in await reader.tasks(log.states)}
    lives = {task_id: _last_life(log, task_id) for task_id in rows}

    assert {
        task_id: _as_json(live_view(folded(None, life))) for task_id, life in lives.items()
    } == {task_id: _as_json(stored_view(row)) for task_id, row in rows.items()}


def _last_life(log: ALog, task_id: TaskId) -> list[TaskEvent]:
    life: list[TaskEvent] = []
    for logged in log.events:
        if logged.event.task_id == task_id:
            created = logged.event.kind is EventKind.CREATED
            life = [logged.event] if created else [*life, logged.event]
    return life


def _as_json(view: TaskView) -> dict[str, Any]:
    """Documents as values: Postgres writes the same JSON in another way."""
    document: dict[str, Any] = json.loads(msgspec.json.encode(view))
    return document


async def _empty(database: str) -> None:
    conn = await asyncpg.connect(database)
    for table in ("tasks", "task_steps", "task_execution_logs", "sink_offsets"):
        await conn.execute(f"DELETE FROM ai_orchestrator.{table}")
    await conn.close()


async def _tables(database: str) -> dict[str, list[str]]:
    """Every row of every table, without identities and write times."""
    conn = await asyncpg.connect(database)
    rows = {
        table: await conn.fetch(
            f"SELECT (to_jsonb(t) - $1::text[])::text FROM ai_orchestrator.{table} t ORDER BY 1",
            without,
        )
        for table, without in (
            ("tasks", []),
            ("task_steps", []),
            ("task_execution_logs", ["id"]),
            ("sink_offsets", ["updated_at"]),
        )
    }
    await conn.close()
    return {table: [row[0] for row in found] for table, found in rows.items()}
