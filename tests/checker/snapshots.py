"""Snapshots may be old but never wrong, and a checkpoint is never ahead of them."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.checker.evidence import Evidence
from tests.checker.log import Log, Logged
from tests.checker.verdict import Findings
from tests.checker.waiting import ENDS
from tests.checker.wire import Kept, Value, decode

CHECKPOINT_KEY = b"/checkpoint"
_NO_TASK = b"/"
"""Before the keys of checkpoints, adoptions and probes of the clock: no task's id has it."""
FORGET_AFTER_MS = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint says."""

    record: Kept
    value: Value
    state: Value

    @property
    def claim(self) -> tuple[int, str]:
        """Whose it is: the ownership that held at its offset."""
        said = {"epoch": self.value["owner_epoch"], "owner": self.value["owner"], **self.state}
        return said["epoch"], said["owner"]

    @property
    def offset(self) -> int:
        """The offset in ``task-events`` up to which snapshots hold everything."""
        return int(self.state.get("offset", 0))


def checkpoints(evidence: Evidence) -> Iterator[Checkpoint]:
    """All checkpoints that are still in the topic."""
    for record in evidence.all_of("task-state"):
        if record.key == CHECKPOINT_KEY and (value := decode(record.value, "TaskState")):
            yield Checkpoint(record, value, _state(value))


def decided_created(evidence: Evidence, partition: int) -> int:
    """The highest offset of ``task-created`` that a checkpoint calls decided; -1 for none."""
    said = [
        int(checkpoint.state.get("decided_created", -1))
        for checkpoint in checkpoints(evidence)
        if checkpoint.record.partition == partition
    ]
    return max(said, default=-1)


def check_snapshots(evidence: Evidence, log: Log, findings: Findings) -> None:
    """Check every record of ``task-state``."""
    for record in evidence.all_of("task-state"):
        if (record.key or b"").startswith(_NO_TASK):
            continue
        findings.statistics.snapshots += 1
        if record.value is None:
            _check_forgotten(record, log, evidence, findings)
            continue
        value = decode(record.value, "TaskState")
        if value is None or value["task_id"].encode() != record.key:
            findings.add("SNAPSHOT_WRONG", record.position, "no snapshot of its key")
            continue
        _check_snapshot(record, value, log, findings)
    for checkpoint in checkpoints(evidence):
        findings.statistics.checkpoints += 1
        _check_checkpoint(checkpoint, evidence, log, findings)


def _check_snapshot(record: Kept, value: Value, log: Log, findings: Findings) -> None:
    claim = (value["owner_epoch"], value["owner"])
    owners = log.owners[record.partition]
    if claim not in [(epoch, owner) for _, epoch, owner in owners]:
        findings.add("SNAPSHOT_OWNER_UNKNOWN", record.position, f"epoch {claim[0]}")
    events = _before(log.histories.get(value["task_id"], ()), value["as_of"])
    if not events:
        findings.add("SNAPSHOT_WRONG", record.position, f"no event below {value['as_of']}")
        return
    said, last = _state(value), events[-1].event
    fold = {
        "sequence": last["sequence"],
        "run": last["run"],
        "status": last["status"],
        "priority": last["priority"],
    }
    wrong = [name for name, truth in fold.items() if name in said and said[name] != truth]
    spec = said.get("spec")
    if isinstance(spec, dict) and spec.get("task_id", value["task_id"]) != value["task_id"]:
        wrong.append("spec.task_id")
    if wrong:
        what = f"{value['task_id']} as of {value['as_of']}: {wrong}"
        findings.add("SNAPSHOT_WRONG", record.position, what)


def _check_forgotten(record: Kept, log: Log, evidence: Evidence, findings: Findings) -> None:
    """Check a tombstone as of its offset: a late one of a former owner may be old."""
    as_of = as_of_tombstone(record)
    if as_of is None:
        findings.add("SNAPSHOT_WRONG", record.position, "a tombstone that does not say as of when")
        return
    history = log.histories.get((record.key or b"").decode(errors="replace"), [])
    events = _before(history, as_of)
    if not events:
        # It was unknown then.
        return
    last = events[-1].event
    young = evidence.now_ms - last["occurred_at"] < FORGET_AFTER_MS
    if last["status"] not in ENDS or young:
        findings.add("FORGOTTEN_TOO_EARLY", record.position, last["task_id"])


def as_of_tombstone(record: Kept) -> int | None:
    """The offset up to which a tombstone speaks; None if it does not say."""
    said = record.header("as_of") or ""
    return int(said) if said.isdecimal() else None


def _check_checkpoint(
    checkpoint: Checkpoint, evidence: Evidence, log: Log, findings: Findings
) -> None:
    record, state, offset = checkpoint.record, checkpoint.state, checkpoint.offset
    end = evidence.ends.get((evidence.topic("task-events"), record.partition), 0)
    if offset > end:
        findings.add("CHECKPOINT_AHEAD", record.position, f"{offset} is beyond the log's end {end}")
    if state.get("partitions", evidence.partitions) != evidence.partitions:
        findings.add("CHECKPOINT_WRONG", record.position, "another number of partitions")
    if checkpoint.claim != log.owner_before(record.partition, offset):
        what = f"epoch {checkpoint.claim[0]} did not own {offset}"
        findings.add("CHECKPOINT_WRONG", record.position, what)
    kept = _kept(evidence, record)
    for task_id, history in log.histories.items():
        if history[0].partition != record.partition:
            continue
        events = _before(history, offset)
        if events and kept.get(task_id, -1) <= events[-1].offset:
            what = f"{task_id}: its event at {events[-1].offset} is in no snapshot"
            findings.add("CHECKPOINT_AHEAD", record.position, what)


def _kept(evidence: Evidence, checkpoint: Kept) -> dict[str, float]:
    """By task: up to which offset the snapshots spoke when the checkpoint was written.

    Where compaction has removed records, a later record stands for the removed one.
    """
    records = evidence.partition("task-state", checkpoint.partition)
    whole = len(records) == (records[-1].offset + 1 if records else 0)
    kept: dict[str, float] = {}
    for record in records:
        if record.offset > checkpoint.offset and whole:
            break
        task_id = (record.key or b"").decode(errors="replace")
        spoken = math.inf if record.offset > checkpoint.offset else _as_of(record)
        kept[task_id] = max(spoken, kept.get(task_id, -1))
    return kept


def _as_of(record: Kept) -> float:
    if record.value is None:
        as_of = as_of_tombstone(record)
        return -1 if as_of is None else as_of
    value = decode(record.value, "TaskState")
    return -1 if value is None else int(value["as_of"])


def _before(history: Sequence[Logged], offset: int) -> list[Logged]:
    return [logged for logged in history if logged.offset < offset]


def _state(value: Value) -> dict[str, Any]:
    try:
        state = json.loads(value["state"])
    except ValueError:
        return {}
    return state if isinstance(state, dict) else {}
