"""A task as ``task get`` shows it: one JSON document, the same from the log and from Postgres.

The sink's own folds are applied to the log's events, so that both sources give the same result.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import msgspec

from orchestrator.cli.task.ports import View
from orchestrator.cli.times import iso
from schemas.json_text import read
from schemas.records import TaskCreated, TaskEvent
from sinks.columns import TaskRow
from sinks.reads.attempts import AttemptsFold
from sinks.reads.stored import StoredLog, StoredStep, StoredTask
from sinks.task_fold import TaskFold
from streams.history.task_log import Seen

_USAGE = ("input_tokens", "output_tokens", "cost_micros")
_ERROR = ("code", "message", "category", "retriable", "service")


def view_of_log(partition: int, life: Sequence[Seen]) -> View:
    """The view from the events of a life, the first of which carries the whole task."""
    fold = TaskFold(life[0].event.task_id, partition)
    attempts = AttemptsFold()
    for seen in life:
        fold.apply(seen.event, seen.offset)
        attempts.apply(seen.event, seen.offset)
    row = fold.row()
    assert isinstance(row, TaskRow)
    steps = _with_inputs(step._asdict() for step in attempts.rows())
    return _view(row._asdict(), steps, [_event(seen.event) for seen in life], "log")


def view_of_rows(task: StoredTask, steps: Sequence[StoredStep], logs: Sequence[StoredLog]) -> View:
    """The view from the sink's rows; ``logs`` may begin with a former life of the id."""
    begun = max((i for i, log in enumerate(logs) if log.event_type == "created"), default=0)
    timeline = [_logged(log) for log in logs[begun:]]
    return _view(asdict(task), [asdict(step) for step in steps], timeline, "postgres")


def view_of_door(wish: TaskCreated) -> View:
    """The view from a record that its owner has not decided yet."""
    nothing = dict.fromkeys(TaskRow._fields)
    known = msgspec.structs.asdict(wish) | {"id": wish.task_id, "updated_at": wish.created_at}
    counts = {**dict.fromkeys(_USAGE, 0), "usage_estimated": False, "run": 1, "sequence": 0}
    state = {"status": "pending", "phase": "accepted"}
    return _view({**nothing, **known, **counts, **state}, [], [], "door")


def event_line(event: TaskEvent) -> View:
    """An event as ``task watch`` and the timeline show it."""
    return _event(event)


def _view(
    task: Mapping[str, Any], steps: Iterable[Mapping[str, Any]], timeline: list[View], source: str
) -> View:
    plain = (
        *("id", "type", "tenant_id", "status", "phase", "priority", "run", "sequence"),
        *("conversation_id", "user_id", "idempotency_key", "pipeline", "pipeline_version"),
    )
    times = ("created_at", "updated_at", "started_at", "completed_at", "deadline_at")
    in_order = sorted(steps, key=lambda s: (s["run"], s["step_index"], s["step"], s["attempt"]))
    error = _error(task)
    if error is not None:
        error |= {"step": task["error_step"], "attempt": task["error_attempt"]}
    return {
        **{name: task[name] for name in plain},
        **{name: iso(task[name]) for name in times},
        "duration_ms": _duration_ms(task),
        "input": _json(task["input"]),
        "output": _json(task["output"]),
        "metadata": _json(task["metadata"]),
        "error": error,
        "usage": _usage(task),
        "attempts": [_attempt(step) for step in in_order],
        "timeline": timeline,
        "source": source,
    }


def _attempt(step: Mapping[str, Any]) -> View:
    plain = ("run", "step", "attempt", "status", "service", "lane", "worker", "command_id")
    times = ("dispatched_at", "started_at", "completed_at", "next_attempt_at")
    return {
        **{name: step[name] for name in plain},
        **{name: iso(step[name]) for name in times},
        "duration_ms": _duration_ms(step),
        "input": _json(step["input"]),
        "output": _json(step["output"]),
        "substeps": _json(step["substeps"]) or [],
        "error": _error(step),
        "usage": None if step["input_tokens"] is None else _usage(step),
    }


def _event(event: TaskEvent) -> View:
    step = event.step or (event.dispatched[0] if event.dispatched else None)
    name = event.step.name if event.step else (event.dispatched[0].step if step else None)
    return {
        "sequence": event.sequence,
        "at": iso(event.occurred_at),
        "kind": event.kind.value,
        "status": event.status.value,
        "phase": event.phase,
        "run": event.run,
        "priority": event.priority,
        "step": name,
        "attempt": step.attempt if step else None,
        "error": event.error.code if event.error else _step_error(event),
        "actor": event.actor,
        "reason": event.reason,
    }


def _step_error(event: TaskEvent) -> str | None:
    return event.step.error.code if event.step and event.step.error else None


def _logged(log: StoredLog) -> View:
    data: dict[str, Any] = read(log.event_data)
    step = data.get("step") or next(iter(data.get("dispatched") or ()), None) or {}
    error = data.get("error") or step.get("error") or {}
    return {
        "sequence": data["sequence"],
        "at": iso(log.created_at),
        "kind": log.event_type,
        "status": data["status"],
        "phase": data["phase"],
        "run": data["run"],
        "priority": data["priority"],
        "step": step.get("name") or step.get("step"),
        "attempt": step.get("attempt"),
        "error": error.get("code"),
        "actor": log.actor,
        "reason": data.get("reason"),
    }


def _with_inputs(steps: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every attempt with the input of its step; only the first attempt's event carries it."""
    found, inputs = list(steps), {}
    for step in found:
        if step["input"] is not None:
            inputs[step["run"], step["step"]] = step["input"]
    return [step | {"input": inputs.get((step["run"], step["step"]))} for step in found]


def _usage(row: Mapping[str, Any]) -> View:
    counts = {name: row[name] for name in _USAGE}
    return {"model": row["usage_model"], **counts, "estimated": row["usage_estimated"]}


def _error(row: Mapping[str, Any]) -> View | None:
    if row["error_code"] is None:
        return None
    return {name: row[f"error_{name}"] for name in _ERROR}


def _duration_ms(row: Mapping[str, Any]) -> int | None:
    started, completed = row["started_at"], row["completed_at"]
    if started is None or completed is None:
        return None
    if isinstance(started, int):
        return int(completed - started)
    return int((completed - started) / timedelta(milliseconds=1))


def _json(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)
