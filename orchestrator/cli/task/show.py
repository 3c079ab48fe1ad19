"""Tasks and events for people: tables and lines."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from orchestrator.cli.output import Output, dollars, json_text, print_line, print_table
from orchestrator.cli.task.ports import View
from orchestrator.cli.times import iso
from sinks.reads.stored import ListedTask

_LISTED = (
    *("id", "type", "status", "error", "created", "ms", "prio", "tokens", "USD"),
    *("tenant", "conversation"),
)
_LISTED_LEAST_IMPORTANT = (
    *("conversation", "tenant", "USD", "tokens", "prio", "ms", "created", "error", "type"),
    "status",
)
_ATTEMPTS = ("run", "step", "attempt", "status", "error", "ms", "tokens", "USD", "started")
_ATTEMPTS_LEAST_IMPORTANT = ("started", "USD", "tokens", "ms", "attempt")
_TIMELINE = ("seq", "at", "event", "step", "phase", "by", "why")
_TIMELINE_LEAST_IMPORTANT = ("by", "phase", "at")

_DOCUMENT_MAX_CHARS = 2000


def show_list(tasks: Sequence[ListedTask], output: Output) -> None:
    """Tasks as a table."""
    rows = [_listed_row(task) for task in tasks]
    print_table(_LISTED, rows, output=output, drop=_LISTED_LEAST_IMPORTANT)


def _listed_row(task: ListedTask) -> list[object]:
    status = task.status if task.phase == task.status else f"{task.status} ({task.phase})"
    return [
        task.id,
        task.type,
        status,
        task.error_code,
        iso(task.created_at),
        task.duration_ms,
        task.priority,
        task.input_tokens + task.output_tokens,
        dollars(task.cost_micros),
        task.tenant_id,
        task.conversation_id,
    ]


def listed_view(task: ListedTask) -> View:
    """A task as a JSON line of a list."""
    return {
        name: iso(value) if isinstance(value, datetime) else value
        for name, value in asdict(task).items()
    }


def show_task(view: View, output: Output) -> None:
    """The known facts about a task; long documents are cut."""
    print_table(("task", str(view["id"])), _facts(view), output=output, drop=(), wrap=True)
    if view["attempts"]:
        rows = [_attempt_row(attempt) for attempt in view["attempts"]]
        print_line("")
        print_table(_ATTEMPTS, rows, output=output, drop=_ATTEMPTS_LEAST_IMPORTANT)
    if view["timeline"]:
        rows = [_timeline_row(line) for line in view["timeline"]]
        print_line("")
        print_table(_TIMELINE, rows, output=output, drop=_TIMELINE_LEAST_IMPORTANT, wrap=True)


def show_explanation(view: View, output: Output) -> None:
    """Why a task is where it is; facts that are not known are left out."""
    names = ("reason", "text", "mover", "since", "due_at", "phase", "step", "attempt", "service")
    further = ("lane", "records_before", "members", "worker")
    rows = [[name, view[name]] for name in (*names, *further) if view[name] is not None]
    rows += [[remark["code"], remark["text"]] for remark in view["remarks"]]
    print_table(("task", str(view["task_id"])), rows, output=output, drop=(), wrap=True)


def show_event(line: View) -> None:
    """One event on one line."""
    step = f"  {line['step']}/{line['attempt']}" if line["step"] else ""
    why = line["error"] or line["reason"]
    print_line(
        f"{line['sequence']:>4}  {line['at']}  {line['kind']}{step}  {line['phase']}"
        + (f"  {why}" if why else "")
    )


def _facts(view: View) -> list[tuple[str, object]]:
    usage, error = view["usage"], view["error"]
    facts: dict[str, Any] = {
        "status": f"{view['status']} ({view['phase']}), run {view['run']}",
        "type": view["type"],
        "pipeline": f"{view['pipeline']} {view['pipeline_version']}" if view["pipeline"] else None,
        "tenant": view["tenant_id"],
        "conversation": view["conversation_id"],
        "user": view["user_id"],
        "priority": view["priority"],
        "created": view["created_at"],
        "started": view["started_at"],
        "ended": view["completed_at"],
        "deadline": view["deadline_at"],
        "duration": None if view["duration_ms"] is None else f"{view['duration_ms']} ms",
        "usage": f"{usage['input_tokens']} + {usage['output_tokens']} tokens, "
        f"{dollars(usage['cost_micros'])} USD",
        "error": error and f"{error['code']}: {error['message']}",
        "input": _cut(view["input"]),
        "output": _cut(view["output"]),
        "read from": view["source"],
    }
    return [(name, fact) for name, fact in facts.items() if fact is not None]


def _attempt_row(attempt: View) -> list[object]:
    usage = attempt["usage"] or {"input_tokens": 0, "output_tokens": 0, "cost_micros": 0}
    return [
        attempt["run"],
        attempt["step"],
        attempt["attempt"],
        attempt["status"],
        attempt["error"] and attempt["error"]["code"],
        attempt["duration_ms"],
        usage["input_tokens"] + usage["output_tokens"],
        dollars(usage["cost_micros"]),
        attempt["started_at"],
    ]


def _timeline_row(line: View) -> list[object]:
    step = f"{line['step']}/{line['attempt']}" if line["step"] else None
    why = line["error"] or line["reason"]
    return [line["sequence"], line["at"], line["kind"], step, line["phase"], line["actor"], why]


def _cut(document: Any) -> str | None:
    if document is None:
        return None
    text = json_text(document)
    return text if len(text) <= _DOCUMENT_MAX_CHARS else text[:_DOCUMENT_MAX_CHARS] + "…"
