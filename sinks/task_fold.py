"""The fold of one task's events in one batch into its row. Pure."""

from schemas.records import (
    EventKind,
    Millis,
    TaskEvent,
    TaskId,
    TaskSpec,
    TaskStatus,
    Usage,
)
from sinks.columns import ChangeRow, RefusalRow, TaskRow, error_columns, usage_columns


class TaskFold:
    """Collects the events of a batch about one task, in their order."""

    def __init__(self, task_id: TaskId, partition: int) -> None:
        self._id = task_id
        self._partition = partition
        self._spec: TaskSpec | None = None
        self._created_at = Millis(0)
        self._born_offset: int | None = None
        self._changed: TaskEvent | None = None  # the last event that is not a refusal
        self._started_at: Millis | None = None
        self._usage: Usage | None = None
        self._steps_changed = False
        self._sequence = 0
        self._offset = -1

    def apply(self, event: TaskEvent, offset: int) -> None:
        """Add the next event of the task; ``created`` only to an empty fold."""
        self._sequence = event.sequence
        self._offset = offset
        if event.kind is EventKind.COMMAND_REFUSED:
            return
        if event.task is not None:
            self._begin(event, event.task, offset)
        elif event.step is not None and self._started_at is None:
            self._started_at = event.step.started_at
        self._changed = event
        self._usage = event.usage or self._usage
        self._steps_changed |= event.step is not None or bool(event.dispatched)

    def row(self) -> TaskRow | ChangeRow | RefusalRow:
        """The task's row."""
        event = self._changed
        if event is None:
            return RefusalRow(id=self._id, sequence=self._sequence, event_offset=self._offset)
        if self._spec is None:
            return self._change_row(event)
        return self._task_row(event, self._spec)

    def _begin(self, event: TaskEvent, spec: TaskSpec, offset: int) -> None:
        """Begin a life or a run: the row shows nothing of the run before."""
        self._spec = spec
        self._created_at = spec.created_at
        self._started_at = None
        self._usage = Usage()
        if event.kind is EventKind.CREATED:
            self._created_at = event.occurred_at
            self._born_offset = offset

    def _change_row(self, event: TaskEvent) -> ChangeRow:
        failed = event.step if event.error else None
        return ChangeRow(
            id=self._id,
            status=None if event.status is TaskStatus.UNKNOWN else event.status.value,
            phase=event.phase,
            priority=event.priority,
            output=event.output,
            run=event.run,
            steps_changed=self._steps_changed,
            updated_at=event.occurred_at,
            started_at=self._started_at,
            completed_at=event.occurred_at if event.status.terminal else None,
            sequence=self._sequence,
            **error_columns(event.error),
            error_step=failed.name if failed else None,
            error_attempt=failed.attempt if failed else None,
            **usage_columns(self._usage),
            event_offset=self._offset,
        )

    def _task_row(self, event: TaskEvent, spec: TaskSpec) -> TaskRow:
        failed = event.step if event.error else None
        return TaskRow(
            id=self._id,
            type=spec.type,
            status=event.status.value,
            phase=event.phase,
            priority=event.priority,
            conversation_id=spec.conversation_id,
            user_id=spec.user_id,
            tenant_id=spec.tenant_id,
            input=spec.input,
            output=event.output,
            metadata=spec.metadata,
            created_at=self._created_at,
            updated_at=event.occurred_at,
            started_at=self._started_at,
            completed_at=event.occurred_at if event.status.terminal else None,
            deadline_at=spec.deadline_at,
            pipeline=spec.pipeline,
            pipeline_version=spec.pipeline_version,
            run=event.run,
            sequence=self._sequence,
            idempotency_key=spec.idempotency_key,
            **error_columns(event.error),
            error_step=failed.name if failed else None,
            error_attempt=failed.attempt if failed else None,
            **usage_columns(self._usage),
            event_partition=self._partition,
            event_offset=self._offset,
            born_offset=self._born_offset,
        )
