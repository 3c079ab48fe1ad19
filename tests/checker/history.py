"""The history of each task: gap-free, one end a run, every step what the task waited for."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.checker.evidence import Evidence
from tests.checker.log import Log, Logged
from tests.checker.verdict import Findings
from tests.checker.waiting import ENDS, waiting_after
from tests.checker.wire import Value

DAY_MS = 24 * 3_600_000
COUNTS = ("input_tokens", "output_tokens", "cost_micros")
STATUS_AFTER = {
    "created": ("pending",),
    "execute_requested": ("pending",),
    "started": ("running",),
    "step_succeeded": ("running",),
    "step_retry_scheduled": ("running",),
    "priority_changed": ("pending", "running"),
    "completed": ("completed",),
    "failed": ("failed",),
    "cancelled": ("cancelled",),
    "retried": ("pending",),
    "command_refused": ("pending", "running", *ENDS),
}
OF_A_STEP = ("started", "step_succeeded", "step_retry_scheduled", "completed")


def check_histories(evidence: Evidence, log: Log, findings: Findings) -> None:
    """Check every task on its own."""
    for history in log.histories.values():
        topic, partition, _ = history[0].position
        cut = evidence.starts.get((topic, partition), 0) > 0
        _History(findings, log_is_cut=cut).check(history)
        end = str(history[-1].event["status"])
        if end in ENDS:
            ended = findings.statistics.ended
            ended[end] = ended.get(end, 0) + 1


@dataclass(slots=True)
class _Before:
    """What is known of a task before its next event."""

    sequence: int
    run: int
    status: str
    tenant: str
    occurred_at: int
    ended_runs: set[int]
    waiting: str | None
    """The command id of the outstanding attempt."""
    usage: Value


class _History:
    def __init__(self, findings: Findings, *, log_is_cut: bool) -> None:
        self._findings = findings
        self._cut = log_is_cut

    def check(self, history: Sequence[Logged]) -> None:
        self._check_order(history)
        before: _Before | None = None
        for logged in history:
            if logged.kind == "created":
                self._check_birth(before, logged)
                before = None
            elif before is None:
                if not self._cut:
                    self._add("BEGINNING_MISSING", logged, f"{logged.kind} before created")
            else:
                self._check_next(before, logged)
            before = _after(before, logged)

    def _check_order(self, history: Sequence[Logged]) -> None:
        """A task's inputs of one topic are decided in their order."""
        last: dict[str, int] = {}
        for logged in history:
            if logged.cause is not None:
                topic, _, offset = logged.cause
                if offset < last.get(topic, -1):
                    self._add("DECIDED_OUT_OF_ORDER", logged, f"{topic} {offset}")
                last[topic] = max(offset, last.get(topic, -1))

    def _check_birth(self, before: _Before | None, logged: Logged) -> None:
        event = logged.event
        if before is not None:
            age_ms = event["occurred_at"] - before.occurred_at
            if before.status not in ENDS or age_ms < DAY_MS:
                self._add("CREATED_TWICE", logged, "its former life is not over")
        if event["sequence"] != 1 or event["run"] != 1:
            self._add("SEQUENCE_WRONG", logged, f"a life begins with {event['sequence']}")

    def _check_next(self, before: _Before, logged: Logged) -> None:
        event, kind = logged.event, logged.kind
        if event["sequence"] != before.sequence + 1:
            self._add("SEQUENCE_WRONG", logged, f"{event['sequence']} after {before.sequence}")
        if event["tenant_id"] != before.tenant:
            self._add("TENANT_CHANGED", logged, event["tenant_id"])
        if event["occurred_at"] < before.occurred_at:
            self._add("TIME_BACKWARDS", logged, "it occurred before the last event")
        if kind == "retried":
            if event["run"] != before.run + 1 or before.status not in ("failed", "cancelled"):
                self._add("RUN_WRONG", logged, f"run {event['run']} after {before.run}")
        elif event["run"] != before.run:
            self._add("RUN_WRONG", logged, f"run {event['run']} while run {before.run} is on")
        elif kind in ENDS and before.run in before.ended_runs:
            self._add("TWO_ENDS", logged, f"run {before.run} had ended as {before.status}")
        elif before.run in before.ended_runs and kind != "command_refused":
            self._add("EVENT_AFTER_END", logged, f"{kind} after {before.status}")
        self._check_status(before, logged)
        self._check_step(before, logged)

    def _check_status(self, before: _Before, logged: Logged) -> None:
        status, allowed = logged.event["status"], STATUS_AFTER.get(logged.kind, ())
        if status not in allowed:
            self._add("STATUS_WRONG", logged, f"{logged.kind} says {status}")
        if logged.kind == "command_refused" and status != before.status:
            self._add("STATUS_WRONG", logged, f"a refusal changed {before.status} to {status}")

    def _check_step(self, before: _Before, logged: Logged) -> None:
        step = logged.event["step"]
        ended = before.run in before.ended_runs
        if step is None:
            needed = logged.kind in OF_A_STEP or (logged.kind in ENDS and before.waiting)
            if needed and not ended:
                self._add("STEP_MISSING", logged, f"{logged.kind} of no step")
            return
        if step["command_id"] != before.waiting and not ended:
            self._add("STEP_NOT_OUTSTANDING", logged, f"{step['command_id']}, not {before.waiting}")
        total = logged.event["usage"]
        if total is not None and logged.kind != "started":
            spent = step["usage"] or {}
            for name in COUNTS:
                if total[name] != before.usage.get(name, 0) + spent.get(name, 0):
                    self._add("USAGE_SUM_WRONG", logged, name)

    def _add(self, code: str, logged: Logged, what: str) -> None:
        self._findings.add(code, logged.position, f"{logged.task_id}: {what}")


def _after(before: _Before | None, logged: Logged) -> _Before:
    event = logged.event
    ended = set() if before is None else before.ended_runs
    return _Before(
        sequence=event["sequence"],
        run=event["run"],
        status=event["status"],
        tenant=event["tenant_id"],
        occurred_at=event["occurred_at"],
        ended_runs=ended | ({event["run"]} if logged.kind in ENDS else set()),
        waiting=waiting_after(None if before is None else before.waiting, event),
        usage=event["usage"] or ({} if before is None else before.usage),
    )
