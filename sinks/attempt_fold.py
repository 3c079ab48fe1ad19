"""The fold of one task's events in one batch into the rows of its attempts. Pure."""

from typing import Any

from schemas.records import DispatchedStep, Lane, StepName, StepOutcome, TaskEvent
from sinks.audit import substeps_document
from sinks.columns import StepRow, error_columns, usage_columns

PENDING = "pending"
"""The status of a dispatched attempt, until a later event changes it."""


class AttemptsFold:
    """Collects the events of a batch about the attempts of one task, in their order."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, StepName, int], dict[str, Any]] = {}

    def apply(self, event: TaskEvent, offset: int) -> None:
        """Add the next event of the task."""
        if event.step is not None:
            row = self._row(event, event.step.name, event.step, offset)
            said = _said_of(event.step).items()
            # Values of an earlier event stay if this event does not have them.
            row.update((column, value) for column, value in said if value is not None)
        for dispatched in event.dispatched:
            row = self._row(event, dispatched.step, dispatched, offset)
            row.update(
                status=PENDING,
                lane=None if dispatched.lane is Lane.UNKNOWN else dispatched.lane.value,
                input=dispatched.input,
            )
            row["dispatched_at"] = row["dispatched_at"] or event.occurred_at

    def rows(self) -> list[StepRow]:
        """The rows, each attempt once."""
        return [StepRow(**row) for row in self._rows.values()]

    def _row(
        self, event: TaskEvent, name: StepName, step: StepOutcome | DispatchedStep, offset: int
    ) -> dict[str, Any]:
        key = (event.run, name, step.attempt)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = dict.fromkeys(StepRow.__struct_fields__)
        row.update(
            task_id=event.task_id,
            run=event.run,
            step=name,
            attempt=step.attempt,
            step_index=step.step_index,
            tenant_id=event.tenant_id,
            command_id=step.command_id,
            service=step.service,
            event_offset=offset,
        )
        return row


def _said_of(step: StepOutcome) -> dict[str, Any]:
    return {
        "status": step.status,
        "output": step.output,
        "substeps": substeps_document(step.substeps),
        **error_columns(step.error),
        **usage_columns(step.usage),
        "worker": step.worker or None,
        "started_at": step.started_at,
        "completed_at": step.completed_at,
        "next_attempt_at": step.next_attempt_at,
    }
