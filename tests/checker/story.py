"""A small system's evidence, made by hand and right in every respect, to be spoilt by tests.

One partition. ``t1`` completes; ``t2`` fails after a retry; ``t3`` is cancelled, refuses a
second cancel, is retried, and fails at its deadline. One record of each input topic comes twice.
"""

import json
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.checker.evidence import Evidence, Row, Tables
from tests.checker.folding import fold_attempts, fold_task, shown_steps
from tests.checker.letters import NAMESPACE
from tests.checker.log import Logged, read_log
from tests.checker.verdict import Findings
from tests.checker.wire import Headers, Kept, Position, Value, decode, encode

EVENTS = "orchestrator.task-events.v1"
CREATED = "orchestrator.task-created.v1"
COMMANDS = "orchestrator.task-commands.v1"
RESULTS = "orchestrator.step-results.v1"
STATE = "orchestrator.task-state.v1"
CONTROL = "orchestrator.control.v1"
RETRIEVE = "orchestrator.steps.retrieve.normal.v1"
GENERATE = "orchestrator.steps.generate.normal.v1"
DLQ = f"dlq.{RETRIEVE}"

RECORDS = {
    EVENTS: "TaskEvent",
    CREATED: "TaskCreated",
    COMMANDS: "TaskCommand",
    RESULTS: "StepResult",
    STATE: "TaskState",
    CONTROL: "Control",
    RETRIEVE: "StepCommand",
    GENERATE: "StepCommand",
}
USAGE = {"model": "m", "input_tokens": 1, "output_tokens": 2, "cost_micros": 3, "estimated": False}
NOTHING = {**USAGE, "model": None, "input_tokens": 0, "output_tokens": 0, "cost_micros": 0}
ERROR = {
    "code": "AWAY",
    "message": "",
    "category": "downstream",
    "retriable": True,
    "service": None,
}


class Story:
    """The records of all topics, by topic; everything is committed."""

    def __init__(self) -> None:
        self.records: dict[str, list[Kept]] = defaultdict(list)
        self.row_changes: list[tuple[str, int, dict[str, Any] | None]] = []
        """Table, row, and what to change in it; None takes the row away."""
        self.left_out: tuple[str, ...] | None = None
        self.not_committed: set[tuple[str, str]] = set()
        """Group and topic."""
        self._time = 1_000
        self._tasks: dict[str, Value] = {}

    # Building

    def put(self, topic: str, value: Value, *, key: str | None = None) -> Position:
        """Append a record."""
        given = value["task_id"] if key is None else key
        return self.put_raw(topic, given.encode(), encode(value, RECORDS[topic]))

    def put_raw(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> Position:
        offset = self.records[topic][-1].offset + 1 if self.records[topic] else 0
        kept = Kept(topic, 0, offset, 500 + offset, key, value, headers)
        self.records[topic].append(kept)
        return kept.position

    def marker(self, epoch: int, owner: str) -> Position:
        return self.event("", "ownership_taken", owner=owner, owner_epoch=epoch)

    def event(
        self, task_id: str, kind: str, cause: Position | None = None, **given: Any
    ) -> Position:
        """The next event of a task, which stays as it was where nothing is said."""
        self._time += 10
        last = self._tasks.get(task_id, {})
        caused = dict(
            zip(
                ("cause_topic", "cause_partition", "cause_offset"),
                cause or ("", -1, -1),
                strict=True,
            )
        )
        kept = ("run", "status", "phase", "priority", "usage", "owner", "owner_epoch")
        event = {
            "event_id": f"{task_id}/{last.get('sequence', 0) + 1}",
            "task_id": task_id,
            "tenant_id": "acme",
            "kind": kind,
            "sequence": last.get("sequence", 0) + 1,
            "owner": "owner-1",
            "owner_epoch": 1,
            "usage": None,
            **{name: last[name] for name in kept if name in last},
            "occurred_at": self._time,
            **caused,
            **given,
        }
        self._tasks[task_id] = event
        return self.put(EVENTS, event)

    def command(self, task_id: str, step: str, attempt: int = 1, *, run: int = 1) -> Position:
        """The copy of a command that follows from the task's last event."""
        last = self._tasks[task_id]
        return self.put(
            GENERATE if step == "generate" else RETRIEVE,
            {
                **self.named(task_id, step, attempt, run=run),
                "task_id": task_id,
                "tenant_id": "acme",
                "run": run,
                "step": step,
                "max_attempts": 4,
                "pipeline": "rag",
                "pipeline_version": 1,
                "method": "M",
                "input": "{}",
                "priority": 5,
                "conversation_id": None,
                "timeout_ms": 1,
                "deadline_at": 9_000,
                "dispatched_at": last["occurred_at"],
            },
        )

    def named(self, task_id: str, step: str, attempt: int = 1, *, run: int = 1) -> Value:
        """What names an attempt."""
        return {
            "command_id": f"{task_id}/{run}/{step}/{attempt}",
            "step_index": 0 if step == "retrieve" else 1,
            "service": "s",
            "attempt": attempt,
        }

    def dispatched(self, task_id: str, step: str, *, run: int = 1) -> list[Value]:
        named = self.named(task_id, step, run=run)
        return [{**named, "step": step, "lane": "normal", "input": "{}"}]

    def result(self, kind: str, command: Position, **given: Any) -> Position:
        """A worker's report about a command."""
        told = decode(self.records[command[0]][command[2]].value, "StepCommand")
        assert told is not None
        names = ("command_id", "task_id", "tenant_id", "run", "step", "attempt")
        place = {
            "command_topic": command[0],
            "command_partition": 0,
            "command_offset": command[2],
        }
        same = {name: told[name] for name in names}
        return self.put(RESULTS, {**same, **place, "kind": kind, "started_at": 1, **given})

    def outcome(self, result: Position, status: str, **given: Any) -> Value:
        """A result as the event has it."""
        told = decode(self.records[RESULTS][result[2]].value, "StepResult")
        assert told is not None
        names = ("output", "usage", "command_topic", "command_partition", "command_offset")
        named = self.named(told["task_id"], told["step"], told["attempt"], run=told["run"])
        same = {name: told[name] for name in names}
        return {**named, "name": told["step"], "status": status, **same, **given}

    def created(self, task_id: str) -> Position:
        value = {"task_id": task_id, "tenant_id": "acme", "type": "rag", "input": "{}"}
        return self.put(CREATED, {**value, "created_at": 1})

    def spec(self, task_id: str) -> Value:
        value = {"task_id": task_id, "tenant_id": "acme", "type": "rag", "pipeline": "rag"}
        return {**value, "deadline_at": 9_000, "created_at": 1}

    def order(self, task_id: str, kind: str, **given: Any) -> Position:
        value = {"command_id": "c", "task_id": task_id, "tenant_id": "acme", "kind": kind}
        return self.put(COMMANDS, {**value, "actor": "a", "issued_at": 1, **given})

    def snapshot(self, task_id: str, as_of: int, **state: Any) -> Position:
        value = {"task_id": task_id, "owner": "owner-1", "owner_epoch": 1, "as_of": as_of}
        return self.put(STATE, {**value, "state": json.dumps(state)})

    def checkpoint(self, offset: int, **state: Any) -> Position:
        said = {"offset": offset, "state_from": 0, "decided_created": 2, "partitions": 1, **state}
        value = {"task_id": "", "owner": "owner-1", "owner_epoch": 1, "as_of": offset}
        return self.put(STATE, {**value, "state": json.dumps(said)}, key="/checkpoint")

    def dead_letter(
        self, origin: Kept, *, stage: str, group: str, failure_class: str = "PERMANENT"
    ) -> Position:
        """A dead letter of a record."""
        named = origin.header("ce_id") if origin.offset < 0 else origin.offset
        name = "\0".join([group, origin.topic, str(origin.partition), str(named)])
        told = {
            "id": str(uuid.uuid5(NAMESPACE, name)),
            "errors.topic": origin.topic,
            "errors.partition": str(origin.partition),
            "errors.offset": str(origin.offset),
            "errors.group": group,
            "errors.delivery.count": "1",
            "errors.message": "",
            "errors.exception.class.name": "",
            "errors.exception.stacktrace": "",
            "errors.stage": stage,
            "errors.class": failure_class,
            "errors.code": "AWAY",
            "errors.timestamp": "1",
            "errors.original.timestamp": str(origin.timestamp_ms),
        }
        ours = [(f"__dlq.{name}", value.encode()) for name, value in told.items()]
        ours += [(alias, origin.topic.encode()) for alias in ALIASES]
        headers = (*origin.headers, *ours)
        return self.put_raw(f"dlq.{origin.topic}", origin.key, origin.value, headers)

    # Spoiling

    def change(self, position: Position, **changes: Any) -> None:
        """Change fields of a record that is there."""
        topic, _, offset = position
        value = decode(self.records[topic][offset].value, RECORDS[topic])
        assert value is not None
        self.set_value(position, encode({**value, **changes}, RECORDS[topic]))

    def set_value(self, position: Position, value: bytes | None) -> None:
        topic, _, offset = position
        self.records[topic][offset] = replace(self.records[topic][offset], value=value)

    def drop(self, position: Position) -> None:
        """Take a record away; the others keep their offsets."""
        topic, _, offset = position
        self.records[topic] = [r for r in self.records[topic] if r.offset != offset]

    def change_row(self, table: str, row: int, **changes: Any) -> None:
        self.row_changes.append((table, row, changes))

    def leave_out_outputs(self, *names: str) -> None:
        """Let the rows of tasks have no outputs of steps, and name these documents as omitted."""
        self.left_out = names

    def drop_row(self, table: str, row: int) -> None:
        self.row_changes.append((table, row, None))

    # Evidence

    def evidence(self) -> Evidence:
        """All of it, with tables that equal the log but for what was changed."""
        ends = {
            (topic, 0): records[-1].offset + 1 for topic, records in self.records.items() if records
        }
        readers = {CREATED: "router", COMMANDS: "router", RESULTS: "router", EVENTS: "sink"}
        readers |= {RETRIEVE: "step.retrieve", GENERATE: "step.generate"}
        evidence = Evidence(
            partitions=1,
            records={(topic, 0): records for topic, records in self.records.items()},
            ends=ends,
            committed={
                (group, topic, 0): ends.get((topic, 0), 0)
                for topic, group in readers.items()
                if (group, topic) not in self.not_committed
            },
            now_ms=self._time + 60_000,
        )
        return replace(evidence, tables=self._tables(evidence))

    def _steps(self, history: Sequence[Logged]) -> list[dict[str, Any]]:
        steps = shown_steps(history)
        if self.left_out is None:
            return steps
        return [{**step, "output": None, "omitted": [*self.left_out]} for step in steps]

    def _tables(self, evidence: Evidence) -> Tables:
        log = read_log(evidence, Findings())
        epoch, owner = log.owner_before(0, evidence.ends[EVENTS, 0]) or (0, "")
        position = {"log_partition": 0, "next_offset": evidence.ends[EVENTS, 0]}
        tables: dict[str, list[Row | None]] = {
            "tasks": [
                {"id": task_id, **fold_task(history), "steps": self._steps(history)}
                for task_id, history in log.histories.items()
            ],
            "task_steps": [
                {"task_id": task_id, "run": run, "step": step, "attempt": attempt, **row}
                for task_id, history in log.histories.items()
                for (run, step, attempt), row in fold_attempts(history).items()
            ],
            "task_execution_logs": [
                {
                    **{n: e.event[n] for n in ("task_id", "tenant_id", "actor")},
                    "event_type": e.kind,
                    "created_at": e.event["occurred_at"],
                    "log_partition": 0,
                    "event_offset": e.offset,
                    "event_data": e.event,
                }
                for e in log.events()
            ],
            "sink_offsets": [{**position, "epoch": epoch, "owner": owner}],
        }
        for table, place, changes in self.row_changes:
            row = tables[table][place]
            tables[table][place] = None if changes is None or row is None else {**row, **changes}
        return Tables(**{name: [r for r in rows if r is not None] for name, rows in tables.items()})


ALIASES = ("x-original-topic", "kafka_dlt-original-topic")


def a_story() -> Story:
    """Nothing is wrong with it."""
    story = Story()
    story.marker(1, "owner-1")
    _completed(story)
    _failed(story)
    _cancelled_and_retried(story)
    story.created("t1")
    story.result("succeeded", (RETRIEVE, 0, 0), output='{"a": 1}', usage=USAGE)
    end = story.records[EVENTS][-1].offset + 1
    story.snapshot("t1", end, sequence=4, run=1, status="completed", spec={"task_id": "t1"})
    story.snapshot("t2", end, sequence=3, run=1, status="failed", spec={"task_id": "t2"})
    story.snapshot("t3", end, sequence=5, run=2, status="failed", spec={"task_id": "t3"})
    story.checkpoint(end)
    return story


def _begin(story: Story, task_id: str) -> Position:
    story.event(
        task_id,
        "created",
        story.created(task_id),
        status="pending",
        phase="queued",
        task=story.spec(task_id),
        dispatched=story.dispatched(task_id, "retrieve"),
        usage=NOTHING,
    )
    return story.command(task_id, "retrieve")


def _completed(story: Story) -> None:
    retrieve = _begin(story, "t1")
    started = story.result("started", retrieve)
    running = {"status": "running", "phase": "step_running"}
    story.event("t1", "started", started, step=story.outcome(started, "running"), **running)
    done = story.result("succeeded", retrieve, output='{"a": 1}', usage=USAGE)
    story.event(
        "t1",
        "step_succeeded",
        done,
        step=story.outcome(done, "succeeded"),
        phase="queued",
        usage=USAGE,
        dispatched=story.dispatched("t1", "generate"),
    )
    done = story.result("succeeded", story.command("t1", "generate"), output='"b"')
    step = story.outcome(done, "succeeded")
    story.event("t1", "completed", done, step=step, status="completed", output='"b"')


def _failed(story: Story) -> None:
    failed = story.result("failed", _begin(story, "t2"), error=ERROR)
    step = story.outcome(failed, "retry_scheduled", error=ERROR, next_attempt_at=2_000)
    story.event("t2", "step_retry_scheduled", failed, step=step, status="running")
    command = story.command("t2", "retrieve", 2)
    failed = story.result("failed", command, error=ERROR)
    step = story.outcome(failed, "failed", error=ERROR)
    story.event("t2", "failed", failed, step=step, status="failed", error=ERROR)
    origin = story.records[RETRIEVE][command[2]]
    story.dead_letter(origin, stage="execute", group="orchestrator.router")


def _cancelled_and_retried(story: Story) -> None:
    _begin(story, "t3")
    step = {**story.named("t3", "retrieve"), "name": "retrieve", "status": "cancelled"}
    order = story.order("t3", "cancel")
    story.event("t3", "cancelled", order, step=step, status="cancelled", error=ERROR)
    story.put(CONTROL, {"kind": "cancel", "task_id": "t3", "run": 1, "at": 1})
    order = story.order("t3", "cancel")
    story.event("t3", "command_refused", order, reason="TASK_ALREADY_CANCELLED")
    order = story.order("t3", "retry", run=1)
    story.event(
        "t3",
        "retried",
        order,
        run=2,
        status="pending",
        task=story.spec("t3"),
        dispatched=story.dispatched("t3", "retrieve", run=2),
    )
    story.command("t3", "retrieve", run=2)
    story.result("cancelled", (RETRIEVE, 0, 3))
    story.order("t3", "retry", run=1)
    step = {**story.named("t3", "retrieve", run=2), "name": "retrieve", "status": "cancelled"}
    late = {**ERROR, "code": "DEADLINE_EXCEEDED"}
    story.event("t3", "failed", step=step, status="failed", error=late)
    story.put(CONTROL, {"kind": "deadline", "task_id": "t3", "run": 2, "at": 1})
    sent = story.records[RETRIEVE][4]
    # The owner has no result, so it does not know where the command is.
    rebuilt = replace(sent, offset=-1, headers=(("ce_id", step["command_id"].encode()),))
    story.dead_letter(
        rebuilt, stage="execute", group="orchestrator.router", failure_class="DEADLINE"
    )
    story.result("cancelled", (RETRIEVE, 0, 4))
