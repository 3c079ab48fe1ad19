"""Every record that a group is done with has left its trace: none lost, none decided twice."""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator

from tests.checker.evidence import Evidence
from tests.checker.letters import Letters
from tests.checker.log import Log, Logged
from tests.checker.snapshots import decided_created
from tests.checker.verdict import Findings
from tests.checker.waiting import ENDS, waiting_after
from tests.checker.wire import Kept, Value, decode, home_of

_NEVER = math.inf
DOORS = {
    "task-created": "TaskCreated",
    "task-commands": "TaskCommand",
    "step-results": "StepResult",
}
ANSWERS = {
    "started": ("started",),
    "succeeded": ("step_succeeded", "completed", "failed"),
    "failed": ("step_retry_scheduled", "failed"),
    "cancelled": ("step_retry_scheduled", "failed"),
}


def check_inputs(evidence: Evidence, log: Log, letters: Letters, findings: Findings) -> None:
    """Check the router's inputs against the log and the dead letters."""
    rules = _Inputs(evidence, log, letters, findings)
    for name in DOORS:
        for partition in range(evidence.partitions):
            for record in rules.done(name, partition):
                rules.check(name, record)
    rules.check_causes()
    findings.statistics.decided_not_committed = sum(
        cause[2] >= evidence.commit_of("router", cause[0], cause[1]) for cause in log.by_cause
    )


class _Inputs:
    def __init__(self, evidence: Evidence, log: Log, letters: Letters, findings: Findings) -> None:
        self._evidence = evidence
        self._log = log
        self._letters = letters
        self._findings = findings
        self._values = {
            record.position: value
            for name, kind in DOORS.items()
            for record in evidence.all_of(name)
            if (value := decode(record.value, kind)) is not None
        }
        self._results: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for topic, partition, offset in sorted(log.by_cause):
            if topic == evidence.topic("step-results"):
                first = log.by_cause[topic, partition, offset][0]
                self._results[partition].append((offset, first.offset))

    def done(self, name: str, partition: int) -> Iterator[Kept]:
        """The records of an input topic that the router's group will not get again."""
        end = self._evidence.commit_of("router", self._evidence.topic(name), partition)
        if name == "task-created":
            end = max(end, decided_created(self._evidence, partition) + 1)
        for record in self._evidence.partition(name, partition):
            if record.offset < end:
                yield record

    def check(self, name: str, record: Kept) -> None:
        events = self._log.by_cause.get(record.position, [])
        dead_lettered = self._letters.of(record.position, "router")
        if events and dead_lettered:
            self._findings.add("DEAD_LETTERED_AND_DECIDED", record.position, "one of both")
        if events or dead_lettered:
            return
        value = self._values.get(record.position)
        if value is None:
            self._findings.add("UNREADABLE_NOT_DEAD_LETTERED", record.position, "no dead letter")
        elif self._is_elsewhere(record):
            self._check_forwarded(name, record)
        elif name == "task-created":
            self._check_created(record, value)
        elif name == "task-commands":
            self._check_command(record, value)
        else:
            self._check_result(record, value)

    def check_causes(self) -> None:
        """Each event decides one record, of its own task and of a fitting kind."""
        for cause, events in self._log.by_cause.items():
            for second in events[1:]:
                what = f"{second.task_id}: {cause} has an event already"
                self._findings.add("INPUT_DECIDED_TWICE", second.position, what)
            value = self._values.get(cause)
            if value is None:
                if not self._evidence.expired(cause):
                    self._findings.add("CAUSE_UNKNOWN", events[0].position, f"no input at {cause}")
            elif not self._fits(value, cause[0], events[0]):
                self._findings.add("CAUSE_WRONG", events[0].position, f"it is not about {cause}")

    def _fits(self, value: Value, topic: str, logged: Logged) -> bool:
        if (
            value["task_id"] != logged.task_id
            or logged.event["cause_partition"] != logged.partition
        ):
            return False
        if topic == self._evidence.topic("task-created"):
            return logged.kind == "created"
        if topic == self._evidence.topic("step-results"):
            return logged.kind in ANSWERS.get(value["kind"], ())
        kinds = {
            "execute": "execute_requested",
            "cancel": "cancelled",
            "set_priority": "priority_changed",
            "retry": "retried",
        }
        return logged.kind in (kinds.get(value["kind"]), "command_refused")

    def _is_elsewhere(self, record: Kept) -> bool:
        return home_of(record.key or b"", self._evidence.partitions) != record.partition

    def _check_forwarded(self, name: str, record: Kept) -> None:
        home = home_of(record.key or b"", self._evidence.partitions)
        copies = self._evidence.partition(name, home)
        if any((copy.key, copy.value) == (record.key, record.value) for copy in copies):
            self._findings.statistics.forwarded += 1
        else:
            self._findings.add("NOT_FORWARDED", record.position, f"no copy in partition {home}")

    def _check_created(self, record: Kept, value: Value) -> None:
        """Without an event it is a duplicate: an earlier record made the task."""
        history = self._log.histories.get(value["task_id"], [])
        births = [logged for logged in history if logged.kind in ("created", "retried")]
        if not any(self._came_before(logged, record) for logged in births):
            self._findings.add(
                "INPUT_LOST", record.position, f"{value['task_id']} has no beginning"
            )

    def _came_before(self, logged: Logged, record: Kept) -> bool:
        if logged.kind == "retried" or logged.cause is None:
            return True
        return logged.cause[0] != record.topic or logged.cause[2] < record.offset

    def _check_command(self, record: Kept, value: Value) -> None:
        """Without an event it is a retry of a run that was not the task's."""
        history = self._log.histories.get(value["task_id"], [])
        other_run = any(logged.event["run"] != value["run"] for logged in history)
        if value["kind"] != "retry" or value["run"] is None or not other_run:
            self._findings.add("INPUT_LOST", record.position, f"{value['kind']} has no answer")

    def _check_result(self, record: Kept, value: Value) -> None:
        """Without an event it was late: something had ended its attempt, or said it, before."""
        self._findings.statistics.late_results += value["kind"] != "started"
        history = self._log.histories.get(value["task_id"], [])
        if not _was_dispatched(history, value):
            # A stranger's: we have sent no such command.
            return
        by = self._decided_by(record)
        if not any(_makes_late(logged, value) for logged in history if logged.offset < by):
            what = f"{value['kind']} of {value['command_id']} counts, and has no event"
            self._findings.add("INPUT_LOST", record.position, what)

    def _decided_by(self, record: Kept) -> float:
        """Before which offset of the log a result was decided: that of the next result's event."""
        decided = self._results[record.partition]
        place = bisect_right(decided, (record.offset, _NEVER))
        return decided[place][1] if place < len(decided) else _NEVER


def _makes_late(logged: Logged, result: Value) -> bool:
    """Whether an event leaves nothing to say to a result."""
    if logged.event["run"] > result["run"]:
        return True
    if logged.event["run"] == result["run"] and logged.kind in ENDS:
        return True
    step = logged.event["step"]
    about = step is not None and step["command_id"] == result["command_id"]
    return about and (logged.kind != "started" or result["kind"] == "started")


def _was_dispatched(history: list[Logged], result: Value) -> bool:
    wanted = result["command_id"]
    for logged in history:
        if any(step["command_id"] == wanted for step in logged.event["dispatched"]):
            return True
        if logged.kind == "step_retry_scheduled" and waiting_after(None, logged.event) == wanted:
            return True
    return False


def check_workers(evidence: Evidence, letters: Letters, findings: Findings) -> None:
    """Every command that a worker's group is done with has a final result or a dead letter."""
    answered = {
        value["command_id"]
        for record in evidence.all_of("step-results")
        if (value := decode(record.value, "StepResult")) and value["kind"] != "started"
    }
    for record in evidence.of_topics(f"{evidence.prefix}steps."):
        group = "step." + step_of(evidence, record.topic)
        if record.offset >= evidence.commit_of(group, record.topic, record.partition):
            continue
        if letters.of(record.position, group):
            continue
        command = decode(record.value, "StepCommand")
        if command is None:
            findings.add("UNREADABLE_NOT_DEAD_LETTERED", record.position, "no dead letter")
        elif command["command_id"] not in answered:
            findings.add("COMMAND_UNANSWERED", record.position, command["command_id"])


def step_of(evidence: Evidence, topic: str) -> str:
    """The step of ``<prefix>steps.<step>.<lane>.v1``."""
    return topic.removeprefix(f"{evidence.prefix}steps.").rsplit(".", 2)[0]
