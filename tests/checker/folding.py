"""What the tables must show, folded from one task's events. Times are Unix milliseconds."""

import json
from collections.abc import Sequence
from typing import Any

from tests.checker.log import Logged
from tests.checker.waiting import ENDS
from tests.checker.wire import Value

Attempt = tuple[int, str, int]
"""Run, step, attempt."""


def fold_task(life: Sequence[Logged]) -> dict[str, Any]:
    """The row of a task, without its steps."""
    row: dict[str, Any] = {}
    for logged in life:
        event = logged.event
        row |= {"sequence": event["sequence"], "event_offset": logged.offset}
        if logged.kind == "command_refused":
            continue
        if event["task"] is not None:
            row |= _begun(event, logged.partition)
        if row.get("started_at") is None and event["step"] and event["task"] is None:
            row["started_at"] = event["step"]["started_at"]
        error, step = event["error"], event["step"]
        row |= {
            "status": event["status"],
            "phase": event["phase"],
            "priority": event["priority"],
            "run": event["run"],
            "output": _json(event["output"]),
            "updated_at": event["occurred_at"],
            "completed_at": event["occurred_at"] if event["status"] in ENDS else None,
            "error_step": step["name"] if error and step else None,
            "error_attempt": step["attempt"] if error and step else None,
            **_error(error),
        }
        if event["usage"] is not None:
            row |= _usage(event["usage"])
    return row


def _begun(event: Value, partition: int) -> dict[str, Any]:
    spec = event["task"]
    same = (
        *("type", "tenant_id", "conversation_id", "user_id", "idempotency_key"),
        *("pipeline", "pipeline_version", "deadline_at"),
    )
    born = {"created_at": event["occurred_at"]} if event["kind"] == "created" else {}
    return {
        "id": event["task_id"],
        "event_partition": partition,
        "input": _json(spec["input"]),
        "metadata": _json(spec["metadata"]),
        "started_at": None,
        **{name: spec[name] for name in same},
        **born,
    }


def fold_attempts(life: Sequence[Logged]) -> dict[Attempt, dict[str, Any]]:
    """The rows of a task's attempts."""
    rows: dict[Attempt, dict[str, Any]] = {}
    for logged in life:
        event, step = logged.event, logged.event["step"]
        if step is not None:
            row = _row(rows, logged, step["name"], step)
            said = {
                "status": step["status"],
                "output": _json(step["output"]),
                "worker": step["worker"] or None,
                **{n: step[n] for n in ("started_at", "completed_at", "next_attempt_at")},
                **_error(step["error"]),
                **(_usage(step["usage"]) if step["usage"] else {}),
            }
            row |= {name: value for name, value in said.items() if value is not None}
        for dispatched in event["dispatched"]:
            row = _row(rows, logged, dispatched["step"], dispatched)
            row |= {"status": "pending", "lane": dispatched["lane"]}
            row["input"] = _json(dispatched["input"])
            row.setdefault("dispatched_at", event["occurred_at"])
    return rows


def _row(
    rows: dict[Attempt, dict[str, Any]], logged: Logged, name: str, step: Value
) -> dict[str, Any]:
    row = rows.setdefault((logged.event["run"], name, step["attempt"]), {})
    row |= {n: step[n] for n in ("command_id", "step_index", "service")}
    row |= {"event_offset": logged.offset, "tenant_id": logged.event["tenant_id"]}
    return row


def shown_steps(life: Sequence[Logged]) -> list[dict[str, Any]]:
    """The last attempt of each step; of earlier runs, those before the present run's first."""
    run = max((logged.event["run"] for logged in life), default=1)
    last: dict[str, tuple[int, int, dict[str, Any]]] = {}
    for (of_run, step, attempt), row in fold_attempts(life).items():
        if step not in last or last[step][:2] < (of_run, attempt):
            last[step] = (of_run, attempt, row)
    first = min((row["step_index"] for r, _, row in last.values() if r == run), default=None)
    shown = [
        (row["step_index"], step, of_run, attempt, row)
        for step, (of_run, attempt, row) in last.items()
        if of_run == run or first is None or row["step_index"] < first
    ]
    return [
        {
            "id": row["command_id"],
            "name": step,
            "run": of_run,
            "attempt": attempt,
            "status": row["status"],
            "output": row.get("output"),
        }
        for _, step, of_run, attempt, row in sorted(shown, key=lambda found: found[:2])
    ]


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _error(error: Value | None) -> dict[str, Any]:
    names = ("code", "message", "category", "retriable", "service")
    return {f"error_{name}": error[name] if error else None for name in names}


def _usage(usage: Value) -> dict[str, Any]:
    return {
        "usage_model": usage["model"],
        "usage_estimated": usage["estimated"],
        **{name: usage[name] for name in ("input_tokens", "output_tokens", "cost_micros")},
    }
