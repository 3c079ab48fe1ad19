"""The tables equal the fold of the log up to where the sink says it stands."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.checker.evidence import Evidence, Row, Tables
from tests.checker.folding import fold_attempts, fold_task, shown_steps
from tests.checker.letters import Letters
from tests.checker.log import Log, Logged
from tests.checker.verdict import Findings


def check_rows(
    evidence: Evidence, log: Log, letters: Letters, findings: Findings, *, quiet: bool
) -> None:
    """Compare tasks, attempts, audit trail and positions; does nothing without tables."""
    tables = evidence.tables
    if tables is None:
        return
    positions = {row["log_partition"]: row for row in tables.sink_offsets}
    _check_positions(evidence, log, positions, findings, quiet=quiet)
    written = {
        task_id: events
        for task_id, history in log.histories.items()
        if (events := _written(history, positions))
        and not any(letters.of(logged.position, "sink") for logged in events)
    }
    dead_lettered = set(log.histories) - set(written)
    _check_tasks(tables, written, dead_lettered, findings)
    _check_attempts(tables, written, dead_lettered, findings)
    _check_trail(tables, written, dead_lettered, findings)


def _written(history: Sequence[Logged], positions: Mapping[int, Row]) -> list[Logged]:
    """The events of a task's present life that the sink has written."""
    position = positions.get(history[0].partition)
    if position is None:
        return []
    return [logged for logged in history if logged.offset < position["next_offset"]]


def _life(events: Sequence[Logged]) -> list[Logged]:
    """From the last `created` on: a new life replaces the rows of the one before."""
    births = [place for place, logged in enumerate(events) if logged.kind == "created"]
    return list(events[births[-1] :]) if births else list(events)


def _check_positions(
    evidence: Evidence, log: Log, positions: Mapping[int, Row], findings: Findings, *, quiet: bool
) -> None:
    topic = evidence.topic("task-events")
    for partition in range(evidence.partitions):
        end, row = evidence.ends.get((topic, partition), 0), positions.get(partition)
        at = 0 if row is None else row["next_offset"]
        if at > end or (quiet and at != end):
            what = f"the sink stands at {at}, the log ends at {end}"
            findings.add("SINK_POSITION_WRONG", f"sink_offsets[{partition}]", what)
        if row is not None and at <= end:
            owner = log.owner_before(partition, at) or (0, "")
            if (row["epoch"], row["owner"]) != owner:
                what = f"epoch {row['epoch']} did not own offset {at}"
                findings.add("SINK_POSITION_WRONG", f"sink_offsets[{partition}]", what)


def _check_tasks(
    tables: Tables, written: Mapping[str, list[Logged]], dead_lettered: set[str], findings: Findings
) -> None:
    rows: dict[str, list[Row]] = {}
    for row in tables.tasks:
        rows.setdefault(row["id"], []).append(row)
    outputs = {row["command_id"]: row.get("output") for row in tables.task_steps}
    for task_id in rows.keys() - written.keys() - dead_lettered:
        findings.add("ROW_WITHOUT_EVENTS", f"tasks {task_id}", "no event made it")
    for task_id, events in written.items():
        found = rows.get(task_id, [])
        if len(found) != 1:
            findings.add("ROW_MISSING", f"tasks {task_id}", f"{len(found)} rows")
            continue
        life = _life(events)
        _compare("ROW_DIFFERS", f"tasks {task_id}", fold_task(life), found[0], findings)
        steps = [_shown(step, outputs) for step in found[0]["steps"]]
        if steps != shown_steps(life):
            findings.add("ROW_DIFFERS", f"tasks {task_id}", f"steps: {steps}")


def _shown(step: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """A step of a task's row; an output that is named as omitted is that of the attempt's row."""
    shown = {name: step[name] for name in ("id", "name", "run", "attempt", "status", "output")}
    if "output" in step.get("omitted", ()) and shown["output"] is None:
        shown["output"] = outputs.get(step["id"])
    return shown


def _check_attempts(
    tables: Tables, written: Mapping[str, list[Logged]], dead_lettered: set[str], findings: Findings
) -> None:
    rows = {(r["task_id"], r["run"], r["step"], r["attempt"]): r for r in tables.task_steps}
    expected = {
        (task_id, *key): attempt
        for task_id, events in written.items()
        for key, attempt in fold_attempts(_life(events)).items()
    }
    for key in rows.keys() - expected.keys():
        if key[0] not in dead_lettered:
            findings.add("ROW_WITHOUT_EVENTS", f"task_steps {key}", "no event made it")
    for key, attempt in expected.items():
        if key not in rows:
            findings.add("ROW_MISSING", f"task_steps {key}", "not there")
        else:
            _compare("ROW_DIFFERS", f"task_steps {key}", attempt, rows[key], findings)


def _check_trail(
    tables: Tables, written: Mapping[str, list[Logged]], dead_lettered: set[str], findings: Findings
) -> None:
    rows: dict[tuple[int, int], list[Row]] = {}
    for row in tables.task_execution_logs:
        rows.setdefault((row["log_partition"], row["event_offset"]), []).append(row)
    events = {(e.partition, e.offset): e for found in written.values() for e in found}
    for place in rows.keys() - events.keys():
        if rows[place][0]["task_id"] not in dead_lettered:
            findings.add("ROW_WITHOUT_EVENTS", f"task_execution_logs {place}", "no such event")
    for place, logged in events.items():
        found, event = rows.get(place, []), logged.event
        if len(found) != 1:
            findings.add("ROW_MISSING", f"task_execution_logs {place}", f"{len(found)} rows")
            continue
        said = {**found[0], **{f"data.{k}": v for k, v in found[0]["event_data"].items()}}
        expected = {
            "task_id": event["task_id"],
            "event_type": event["kind"],
            "created_at": event["occurred_at"],
            "tenant_id": event["tenant_id"],
            "actor": event["actor"],
            **{f"data.{n}": event[n] for n in ("event_id", "sequence", "run", "status", "phase")},
        }
        _compare("ROW_DIFFERS", f"task_execution_logs {place}", expected, said, findings)


def _compare(
    code: str, where: str, expected: Mapping[str, Any], row: Row, findings: Findings
) -> None:
    wrong = {
        name: (row.get(name), value) for name, value in expected.items() if row.get(name) != value
    }
    if wrong:
        findings.add(
            code, where, ", ".join(f"{n}: {a!r}, not {b!r}" for n, (a, b) in wrong.items())
        )
