"""The rule for ``TaskCreated``: a new task is admitted and its first step is dispatched."""

from schemas.errors import InvalidRecordError
from schemas.records import EventKind, TaskCreated, TaskEvent, TaskStatus, Usage
from tasks.deciding.admission import Admitted, admit
from tasks.deciding.context import Context
from tasks.deciding.event import event_id_of
from tasks.deciding.size import fits
from tasks.decision import Accepted, Decision, Ignored, Rejected
from tasks.identity import born_at
from tasks.task import Phase, Task


def on_created(task: Task | None, record: TaskCreated, context: Context) -> Decision:
    """Create the task, held or queued.

    A second record for a known id is ignored whatever it says: the first one counts. One of
    another tenant is dead-lettered: its sender would take the task for its own. An id that
    contains its time, and is older than tasks are remembered, may have been a task before.
    """
    if task is not None:
        if record.tenant_id != task.spec.tenant_id:
            return Rejected("TENANT_MISMATCH", "there is a task of this id, and not this tenant's")
        return Ignored("duplicate")
    born = born_at(record.task_id)
    if born is not None and born < context.now - context.rules.remember_ms:
        return Rejected("TASK_TOO_OLD", "the id is older than tasks are remembered: take a new one")
    try:
        admitted = admit(record, rules=context.rules, now=context.now)
    except InvalidRecordError as error:
        return Rejected(error.code, str(error))
    event = _created(admitted, context)
    if not fits(event, context.rules.limits.event_max_bytes, admitted.spec.input):
        return Rejected("INPUT_TOO_LARGE", "the task does not fit into one event")
    return Accepted(event)


def _created(admitted: Admitted, context: Context) -> TaskEvent:
    spec = admitted.spec
    return TaskEvent(
        event_id=event_id_of(spec.task_id, 1),
        task_id=spec.task_id,
        tenant_id=spec.tenant_id,
        kind=EventKind.CREATED,
        sequence=1,
        run=1,
        status=TaskStatus.PENDING,
        phase=Phase.HELD if spec.hold else Phase.QUEUED,
        priority=spec.priority,
        occurred_at=context.occurred_at(None),
        cause_topic=context.cause.topic,
        cause_partition=context.cause.partition,
        cause_offset=context.cause.offset,
        task=spec,
        dispatched=[] if spec.hold else [admitted.first],
        usage=Usage(),
    )
