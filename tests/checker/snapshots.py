"""Snapshots may be old but never wrong, and a checkpoint is never ahead of them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.checker.evidence import Evidence
from tests.checker.log import Log, Logged
from tests.checker.verdict import Findings
from tests.checker.waiting import ENDS
from tests.checker.wire import Kept, Value, decode

CHECKPOINT_KEY = b"/checkpoint"
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
        if record.key == CHECKPOINT_KEY:
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
    history = log.histories.get((record.key or b"").decode(errors="replace"), [])
    if not history:
        return
    births = [h for h in history if h.kind == "created"]
    last = history[-1]
    if len(births) > 1:
        # A new life began since.
        return
    young = evidence.now_ms - last.event["occurred_at"] < FORGET_AFTER_MS
    if last.event["status"] not in ENDS or young:
        findings.add("FORGOTTEN_TOO_EARLY", record.position, last.task_id)


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
        if events and not _is_kept(kept.get(task_id, ()), events[-1].offset):
            what = f"{task_id}: its event at {events[-1].offset} is in no snapshot"
            findings.add("CHECKPOINT_AHEAD", record.position, what)


def _kept(evidence: Evidence, checkpoint: Kept) -> dict[str, list[Kept]]:
    """By task: what may have been there when the checkpoint was written.

    Where compaction has removed records, a later record stands for the removed one.
    """
    records = evidence.partition("task-state", checkpoint.partition)
    whole = len(records) == (records[-1].offset + 1 if records else 0)
    kept: dict[str, list[Kept]] = {}
    for record in records:
        if record.offset < checkpoint.offset or not whole:
            kept.setdefault((record.key or b"").decode(errors="replace"), []).append(record)
    return kept


def _is_kept(records: Sequence[Kept], offset: int) -> bool:
    """Whether a snapshot holds the event at an offset, or the task was forgotten."""
    for record in records:
        value = decode(record.value, "TaskState")
        if record.value is None or (value is not None and value["as_of"] > offset):
            return True
    return False


def _before(history: Sequence[Logged], offset: int) -> list[Logged]:
    return [logged for logged in history if logged.offset < offset]


def _state(value: Value) -> dict[str, Any]:
    try:
        state = json.loads(value["state"])
    except ValueError:
        return {}
    return state if isinstance(state, dict) else {}
