"""What follows from the events is there, and nothing else is: commands, control, dead letters."""

from collections import defaultdict
from dataclasses import dataclass, field

from tests.checker.evidence import Evidence
from tests.checker.letters import Letters
from tests.checker.log import Log, Logged
from tests.checker.settled import Settled
from tests.checker.verdict import Findings
from tests.checker.waiting import waiting_after
from tests.checker.wire import Kept, Value, decode, home_of

GRACE_MS = 15_000
"""How late a timer may be: a takeover lies between."""


@dataclass(slots=True)
class Expected:
    """A step command, as the events say it has to be."""

    fields: Value
    """What its value must say."""
    lanes: dict[str, Logged] = field(default_factory=dict)
    """Where it was sent at once, by the event that says so."""
    due_at: int | None = None
    """A retry's time."""


def expected_commands(log: Log) -> dict[str, Expected]:
    """All commands that the accepted events entail, by id."""
    found: dict[str, Expected] = {}
    for history in log.histories.values():
        spec: Value | None = None
        for logged in history:
            event = logged.event
            spec = event["task"] or spec
            if spec is None:
                continue
            for step in event["dispatched"]:
                if step["command_id"] not in found:
                    found[step["command_id"]] = Expected(_fields(spec, event, step, step["input"]))
                found[step["command_id"]].lanes[step["lane"]] = logged
            if logged.kind == "step_retry_scheduled":
                _add_retry(found, spec, event)
    return found


def _add_retry(found: dict[str, Expected], spec: Value, event: Value) -> None:
    step = event["step"]
    last = found.get(step["command_id"])
    following = {
        "command_id": f"{event['task_id']}/{event['run']}/{step['name']}/{step['attempt'] + 1}",
        "step": step["name"],
        "step_index": step["step_index"],
        "service": step["service"],
        "attempt": step["attempt"] + 1,
    }
    fields = _fields(spec, event, following, last.fields["input"] if last else None)
    found[following["command_id"]] = Expected(fields, due_at=step["next_attempt_at"])


def _fields(spec: Value, event: Value, step: Value, step_input: str | None) -> Value:
    names = ("command_id", "step", "step_index", "service", "attempt")
    return {
        **{name: step[name] for name in names},
        "task_id": event["task_id"],
        "tenant_id": event["tenant_id"],
        "run": event["run"],
        "pipeline": spec["pipeline"],
        "pipeline_version": spec["pipeline_version"],
        "input": step_input,
        "priority": event["priority"],
        "conversation_id": spec["conversation_id"],
        "deadline_at": spec["deadline_at"],
        "dispatched_at": event["occurred_at"],
    }


def check_commands(evidence: Evidence, log: Log, settled: Settled, findings: Findings) -> None:
    """Each command is in its lane, as often as need be, and always with the same bytes."""
    expected = expected_commands(log)
    copies: dict[str, list[Kept]] = defaultdict(list)
    for record in evidence.of_topics(f"{evidence.prefix}steps."):
        command = decode(record.value, "StepCommand")
        if command is not None:
            copies[command["command_id"]].append(record)
            _check_copy(evidence, record, command, expected, findings)
    _count_copies(copies, findings)
    results = _results(evidence, copies, findings)
    for command_id, wanted in expected.items():
        _check_sent(
            evidence,
            wanted,
            copies.get(command_id, []),
            command_id in results,
            log,
            settled,
            findings,
        )


def _check_copy(
    evidence: Evidence,
    record: Kept,
    command: Value,
    expected: dict[str, Expected],
    findings: Findings,
) -> None:
    key = command["task_id"].encode()
    if record.key != key or home_of(key, evidence.partitions) != record.partition:
        findings.add("COMMAND_MISPLACED", record.position, command["command_id"])
    wanted = expected.get(command["command_id"])
    if wanted is None:
        findings.add("COMMAND_WITHOUT_EVENT", record.position, command["command_id"])
        return
    wrong = [name for name, value in wanted.fields.items() if command[name] != value]
    if wrong:
        findings.add("COMMAND_WRONG", record.position, f"{command['command_id']}: {wrong}")


def _count_copies(copies: dict[str, list[Kept]], findings: Findings) -> None:
    for command_id, records in copies.items():
        topics = {record.topic for record in records}
        findings.statistics.duplicate_commands += len(records) - len(topics)
        if len({record.value for record in records}) > 1:
            findings.add("COMMAND_BYTES_DIFFER", records[-1].position, command_id)


def _results(evidence: Evidence, copies: dict[str, list[Kept]], findings: Findings) -> set[str]:
    """The commands that have a final result; each result names a copy of its command."""
    counts: dict[str, int] = defaultdict(int)
    places = {record.position: command_id for command_id, all_ in copies.items() for record in all_}
    for record in evidence.all_of("step-results"):
        result = decode(record.value, "StepResult")
        if result is None or result["command_id"] not in copies:
            continue
        counts[result["command_id"]] += result["kind"] != "started"
        place = (result["command_topic"], result["command_partition"], result["command_offset"])
        if places.get(place) != result["command_id"] and not evidence.expired(place):
            findings.add("RESULT_WITHOUT_COMMAND", record.position, f"no command at {place}")
    findings.statistics.duplicate_results = sum(max(0, count - 1) for count in counts.values())
    return {command_id for command_id, count in counts.items() if count}


def _check_sent(
    evidence: Evidence,
    wanted: Expected,
    copies: list[Kept],
    has_result: bool,
    log: Log,
    settled: Settled,
    findings: Findings,
) -> None:
    command_id, step = wanted.fields["command_id"], wanted.fields["step"]
    history = log.histories[wanted.fields["task_id"]]
    stopped = _stopped(history, command_id)
    for lane, logged in wanted.lanes.items():
        topic = evidence.topic(f"steps.{step}.{lane}")
        if any(record.topic == topic for record in copies) or not settled.is_done(logged):
            continue
        # Left out at a takeover: its result is in the log, or its run was ended from outside.
        if not (copies and has_result) and not stopped:
            findings.add("COMMAND_MISSING", logged.position, f"{command_id} is not in {topic}")
    if wanted.due_at is not None and not copies and not stopped:
        late = wanted.due_at + GRACE_MS < evidence.now_ms
        if late and waiting_of(history) == command_id:
            findings.add("RETRY_NOT_SENT", history[-1].position, f"{command_id} was due")


def _stopped(history: list[Logged], command_id: str) -> bool:
    """Whether a cancel or a deadline ended the run while this attempt was outstanding."""
    return any(
        logged.kind in ("cancelled", "failed")
        and logged.event["step"] is not None
        and logged.event["step"]["command_id"] == command_id
        and logged.event["step"]["status"] == "cancelled"
        for logged in history
    )


def waiting_of(history: list[Logged]) -> str | None:
    """The attempt that a task waits for now."""
    waiting = None
    for logged in history:
        waiting = waiting_after(waiting, logged.event)
    return waiting


def check_ends(
    evidence: Evidence, log: Log, letters: Letters, settled: Settled, findings: Findings
) -> None:
    """Steps that failed for good have dead letters; stopped ones a broadcast; deadlines hold."""
    told = {
        (value["kind"], value["task_id"], value["run"]): record
        for record in evidence.all_of("control")
        if (value := decode(record.value, "Control")) is not None
    }
    wanted: set[tuple[str, str, int]] = set()
    for history in log.histories.values():
        for logged in history:
            step = logged.event["step"]
            if logged.kind == "failed":
                _check_deadline_letter(logged, letters, settled, findings)
            if logged.kind not in ("failed", "cancelled") or step is None:
                continue
            if step["status"] == "failed":
                _check_dead_lettered(logged, letters, settled, findings)
                continue
            kind = "cancel" if logged.kind == "cancelled" else "deadline"
            control = (kind, logged.task_id, logged.event["run"])
            wanted.add(control)
            if control not in told and settled.is_done(logged):
                findings.add("CONTROL_MISSING", logged.position, f"{control}")
        _check_deadline(evidence, history, findings)
    for control, record in told.items():
        if control not in wanted:
            findings.add("CONTROL_WITHOUT_EVENT", record.position, f"{control}")


def _check_dead_lettered(
    logged: Logged, letters: Letters, settled: Settled, findings: Findings
) -> None:
    error = logged.event["error"] or {}
    if error.get("code") == "PIPELINE_VERSION_UNKNOWN":
        # Without its pipeline the command cannot be made again.
        return
    command_id = logged.event["step"]["command_id"]
    if settled.is_done(logged) and not letters.holds_command(command_id):
        findings.add("DEAD_LETTER_MISSING", logged.position, command_id)


def _check_deadline_letter(
    logged: Logged, letters: Letters, settled: Settled, findings: Findings
) -> None:
    """A task that failed by its deadline is a letter of that class, whoever noticed."""
    error, step = logged.event["error"] or {}, logged.event["step"]
    if error.get("code") != "DEADLINE_EXCEEDED" or not settled.is_done(logged):
        return
    run, command_id = logged.event["run"], step["command_id"] if step else None
    if not letters.holds_deadline(logged.task_id, run, command_id):
        findings.add("DEADLINE_NOT_DEAD_LETTERED", logged.position, f"{logged.task_id}, run {run}")


def _check_deadline(evidence: Evidence, history: list[Logged], findings: Findings) -> None:
    spec = next((h.event["task"] for h in reversed(history) if h.event["task"]), None)
    last = history[-1]
    if spec is None or last.event["status"] not in ("pending", "running"):
        return
    if spec["deadline_at"] + GRACE_MS < evidence.now_ms:
        findings.add("DEADLINE_NOT_KEPT", last.position, f"{last.task_id} still waits")
