"""Admission: the conditions under which a record becomes a task.

The owner checks them before it accepts a ``TaskCreated``, the API before it publishes one. So
the API accepts no task that is then dead-lettered.
"""

from dataclasses import dataclass

from schemas.errors import InvalidRecordError
from schemas.json_text import check_text, parse_object
from schemas.limits import ID_PATTERN, PRIORITY_MAX, PRIORITY_MIN
from schemas.records import DispatchedStep, Error, Millis, TaskCreated, TaskSpec
from tasks.deciding.dispatch import dispatch
from tasks.decision import Rules
from tasks.identity import check_owner_of_id
from tasks.pipeline import Pipeline

KEY_MAX_CHARS = 256
"""Length of an idempotency key. The upstream chooses the key: any printable text is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A record that may become a task, and the values derived from it."""

    spec: TaskSpec
    first: DispatchedStep
    """The step to dispatch unless the task is held."""


def admit(record: TaskCreated, *, rules: Rules, now: Millis) -> Admitted:
    """Check a record that asks for a new task.

    Times: the task is created now, whatever the record says (``created_at`` comes from the
    upstream's clock and may have any value). Its deadline is ``timeout_ms`` from now or
    ``deadline_at``, whichever is earlier; without both, the default timeout applies. A deadline in
    the past is admitted: the task then fails by its deadline, like any other.

    Raises:
        InvalidRecordError: the record is faulty; the same record is refused again. Codes:
            ``ID_INVALID``, ``TENANT_MISSING``, ``TEXT_NOT_STORABLE``, ``ID_KEY_MISMATCH``,
            ``ID_KEY_MISSING``, ``TASK_TYPE_UNKNOWN``, ``PIPELINE_VERSION_UNKNOWN``,
            ``PRIORITY_OUT_OF_RANGE``, ``TIMEOUT_OUT_OF_RANGE``, those of
            :func:`schemas.json_text.parse_object` for input and metadata, and
            ``INPUT_INCOMPLETE`` or ``INPUT_TOO_LARGE`` if the first step's input cannot be
            built from this input.
    """
    _check_ids(record)
    pipeline = _pipeline_of(record, rules)
    _check_numbers(record, rules, now)
    max_bytes = rules.limits.task_input_max_bytes
    parse_object(record.input, what="input", max_bytes=max_bytes)
    parse_object(record.metadata, what="metadata", max_bytes=max_bytes)
    spec = _spec(record, pipeline, rules, now)
    return Admitted(spec=spec, first=_first_step(spec, pipeline, rules))


def _check_ids(record: TaskCreated) -> None:
    _check_id(record.task_id, "task_id")
    if not record.tenant_id:
        raise InvalidRecordError("TENANT_MISSING", "tenant_id is empty")
    _check_id(record.tenant_id, "tenant_id")
    for what in ("conversation_id", "user_id"):
        if (optional := getattr(record, what)) is not None:
            _check_id(optional, what)
    if record.idempotency_key is not None:
        _check_key(record.idempotency_key)
    check_owner_of_id(record.task_id, record.tenant_id, record.idempotency_key)


def _check_id(text: str, what: str) -> None:
    check_text(text, what)
    if not ID_PATTERN.fullmatch(text):
        raise InvalidRecordError("ID_INVALID", f"{what} does not match {ID_PATTERN.pattern}")


def _check_key(key: str) -> None:
    check_text(key, "idempotency_key")
    if not 1 <= len(key) <= KEY_MAX_CHARS or not key.isprintable():
        raise InvalidRecordError(
            "ID_INVALID", f"idempotency_key must be 1 to {KEY_MAX_CHARS} printable characters"
        )


def _pipeline_of(record: TaskCreated, rules: Rules) -> Pipeline:
    if rules.pipelines.newest(record.type) is None:
        known = ", ".join(rules.pipelines.names)
        message = f"type {record.type[:64]!a} is unknown; known are {known}"
        raise InvalidRecordError("TASK_TYPE_UNKNOWN", message)
    pipeline = rules.pipelines.get(record.type, record.pipeline_version)
    if pipeline is None:
        message = f"{record.type} has no version {record.pipeline_version}"
        raise InvalidRecordError("PIPELINE_VERSION_UNKNOWN", message)
    return pipeline


def _check_numbers(record: TaskCreated, rules: Rules, now: Millis) -> None:
    if not PRIORITY_MIN <= record.priority <= PRIORITY_MAX:
        message = f"priority is {record.priority}, not {PRIORITY_MIN}..{PRIORITY_MAX}"
        raise InvalidRecordError("PRIORITY_OUT_OF_RANGE", message)
    longest = rules.max_timeout_ms
    if record.timeout_ms is not None and not 1 <= record.timeout_ms <= longest:
        message = f"timeout_ms is {record.timeout_ms}, not 1..{longest}"
        raise InvalidRecordError("TIMEOUT_OUT_OF_RANGE", message)
    if record.deadline_at is not None and not 0 <= record.deadline_at <= now + longest:
        message = f"deadline_at is {record.deadline_at}, not 1970 to {longest} ms from now"
        raise InvalidRecordError("TIMEOUT_OUT_OF_RANGE", message)


def _spec(record: TaskCreated, pipeline: Pipeline, rules: Rules, now: Millis) -> TaskSpec:
    timeout_ms = record.timeout_ms
    if timeout_ms is None:
        left_ms = 0 if record.deadline_at is None else record.deadline_at - now
        # A retry gets this time again, so it must be above 0 even if the deadline had passed.
        timeout_ms = left_ms if left_ms > 0 else rules.default_timeout_ms
    by_timeout = Millis(now + timeout_ms)
    return TaskSpec(
        task_id=record.task_id,
        tenant_id=record.tenant_id,
        type=record.type,
        input=record.input,
        priority=record.priority,
        conversation_id=record.conversation_id,
        user_id=record.user_id,
        metadata=record.metadata,
        hold=record.hold,
        timeout_ms=timeout_ms,
        deadline_at=by_timeout
        if record.deadline_at is None
        else min(record.deadline_at, by_timeout),
        idempotency_key=record.idempotency_key,
        pipeline=pipeline.name,
        pipeline_version=pipeline.version,
        created_at=now,
    )


def _first_step(spec: TaskSpec, pipeline: Pipeline, rules: Rules) -> DispatchedStep:
    first = dispatch(
        spec,
        {},
        pipeline=pipeline,
        index=0,
        run=1,
        priority=spec.priority,
        max_bytes=rules.limits.step_input_max_bytes,
    )
    if isinstance(first, Error):
        incomplete = first.code == "STEP_INPUT_INCOMPLETE"
        code = "INPUT_INCOMPLETE" if incomplete else "INPUT_TOO_LARGE"
        raise InvalidRecordError(code, first.message)
    return first
